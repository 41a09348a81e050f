"""Measure the claims of the measuring engine and of the verdicts on this machine.

    python tests/proofs [--quick] [NAME ...]

Without a name all of them, which takes some hours; `--quick` only tries them out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import calls
import certificates
import engine
import fleet_quiet
import intervals
import kin
import kin_language
import pairs
import peers
import pooled
import spending
import tune
import tune_energy
import verdicts

PROOFS: dict[str, Callable[[bool], None]] = {
    "bias": calls.bias,
    "interference": calls.interference,
    "fleet-quiet": fleet_quiet.prove,
    "verdicts": verdicts.alarms_and_power,
    "ranking": verdicts.ranking,
    "coverage": intervals.prove,
    "peers": peers.prove,
    "pairs": pairs.prove,
    "spending": spending.prove,
    "pooled": pooled.prove,
    "lineage": kin.prove,
    "certificates": certificates.prove,
    "lineage-language": kin_language.prove,
    "tune": tune.prove,
    "tune-by-hand": tune.by_hand,
    "tune-energy": tune_energy.prove,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the claims of the engine.")
    parser.add_argument("names", nargs="*", choices=[*PROOFS, []], default=[])
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, written to a scratch folder"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        engine.use_scratch_results()
    for name in arguments.names or PROOFS:
        print(f"{name}:", flush=True)
        PROOFS[name](arguments.quick)


if __name__ == "__main__":
    main()
