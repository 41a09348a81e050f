"""The PyTorch form of the models in `models.py`, for backends that take PyTorch."""

import torch
from torch import nn


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean(dim=(2, 3)))


class Embed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, ids):
        return self.head(self.table(ids).mean(dim=1))


class Many(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, a, b):
        total = a + b
        return total, a * b * self.scale, torch.cat([total, b], dim=1)


class Decoding(nn.Module):
    """The decoder of `decoders.py`: a window of 3, groups of 4."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(11, 4))

    def forward(
        self,
        input_ids,
        attention_mask,
        position_ids,
        past_keys,
        past_near,
        past_last,
        past_rest,
        past_groups,
    ):
        x = self.table[input_ids] + position_ids[..., None] / 10
        keys = torch.cat([past_keys, x], 1)
        around = torch.cat([past_near, x], 1)
        before = torch.cat([past_last[:, None], x], 1)[:, -2:-1]
        loose = torch.cat([past_rest, x], 1)
        taken = loose.shape[1] // 4 * 4
        means = loose[:, :taken].reshape(len(x), -1 if taken else 0, 4, 4).mean(2)
        groups = torch.cat([past_groups, means], 1)
        hidden = x + keys.sum(1, keepdim=True) / attention_mask.sum(1)[:, None, None]
        hidden = hidden + around[:, -4:].sum(1, keepdim=True) + before
        hidden = hidden + groups.sum(1, keepdim=True)
        logits = hidden @ self.table.T
        return logits, keys, around[:, -3:], x[:, -1], loose[:, taken:], groups
