"""The transport on Ray: an agent a node, asked again and again what happened there."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError, first_line
from bench.fleet.file import FleetFile, NodeTable, refuse_unknown
from bench.fleet.nodes import NodeFacts, from_doctor
from bench.fleet.ray import node as node_module
from bench.fleet.ray import surroundings
from bench.fleet.ray.node import Item, Node
from bench.fleet.transport import Ended, Event, Grew, Joined, Lease, Lost, Order
from bench.runtimes.targets import parse_target

#: An agent that answers none of the questions of so long is taken for lost; it asks itself the
#: same (`bench.fleet.ray.node.DRIVER_SILENCE_S`), so what it measures ends too.
LOST_S = 15.0
#: Longer than a doctor takes (`bench.fleet.ray.node`).
_DOCTOR_S = 320.0
#: Ray starts a worker for an agent: importing it takes seconds on a small board.
_START_S = 90.0
#: How long an agent waits for something to tell before it answers that there is nothing; what
#: happens it tells at once. While it waits it is idle, and disturbs nothing.
_WAIT_S = 5.0
#: How long this side waits for any of them before it looks after those that are silent.
_TURN_S = 0.5
#: How often the cluster is asked for nodes that have come.
_LOOK_S = 3.0
#: A piece of a file on its way to a node.
_PIECE_BYTES = 8 << 20
_ASK_S = 60.0
#: A node whose agent could not be started is tried again after so long.
_AGAIN_S = 20.0
_SESSION_DIGITS = 12
#: Of a node's resources those that aren't a device's.
_NO_DEVICE = ("CPU", "memory", "object_store_memory", "node:")


@dataclass
class _Agent:
    """The agent of one node, as this side knows it."""

    name: str
    node_id: str
    actor: Any
    resources: dict[str, float]
    lease: str = ""  #: empty while it has none
    run: str = ""  #: the run directory of its last lease
    after: int = 0  #: events of the lease that have come
    question: Any = None  #: the answer that is waited for
    asked_s: float = 0.0  #: when it was asked
    runs: set[str] = field(default_factory=set)  #: that it has directories of


class RayTransport:
    """See `bench.fleet.transport.Transport`. A thread of its own asks the agents, so that they know
    the driver alive while that writes, or sends files."""

    def __init__(self, ray: Any, file: FleetFile) -> None:
        self._ray, self._file = ray, file
        self._session = uuid.uuid4().hex[:_SESSION_DIGITS]
        self._agents: dict[str, _Agent] = {}
        self._names: dict[str, str] = {}  #: by id in the cluster
        self._joining: set[str] = set()  #: ids of nodes whose agent is being started
        self._refused_s: dict[str, float] = {}  #: by id: when its agent last could not be started
        self.troubles: list[str] = []  #: why nodes of the cluster can't take part
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._turn = threading.RLock()
        self._closed = threading.Event()
        self._looked_s = 0.0
        for module in (node_module, surroundings):
            ray.cloudpickle.register_pickle_by_value(module)
        self._asking = threading.Thread(target=self._ask, name="fleet", daemon=True)

    # -- nodes -----------------------------------------------------------------------------------

    def nodes(self) -> list[NodeFacts]:
        """Everybody who is in the cluster now. Raises `SpecError` for a node of the fleet file that
        isn't, and `BenchError` where none can measure."""
        alive = self._alive()
        self._give_names(alive)
        present = [*self._names.values(), *(str(one["NodeManagerHostname"]) for one in alive)]
        refuse_unknown(self._file, list(dict.fromkeys(present)), "the fleet file")
        started = [one for node in alive if (one := self._try_start(node)) is not None]
        with ThreadPoolExecutor(max(1, len(started))) as side_by_side:
            tried = list(side_by_side.map(self._try_facts, started))
        found = [facts for facts in tried if facts is not None]
        if not found:
            raise BenchError(f"no node can measure. {' '.join(self.troubles) or 'None is there.'}")
        if not self._asking.is_alive():
            self._looked_s = time.monotonic()
            self._asking.start()
        return found

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _give_names(self, alive: Sequence[Mapping[str, Any]]) -> None:
        """Give every node that takes part its name, which one that left may have had."""
        ids = {node["NodeID"] for node in alive}
        self._names = {node_id: name for node_id, name in self._names.items() if node_id in ids}
        for node in alive:
            name = self._name(node) if node["NodeID"] not in self._names else None
            if name is not None:
                self._names[node["NodeID"]] = name

    def _name(self, node: Mapping[str, Any]) -> str | None:
        """Of the fleet file where that has nodes, else of the host; None for one that takes no
        part."""
        taken = set(self._names.values())
        if self._file.nodes:
            fitting = (n for n, table in self._file.nodes.items() if _matches(n, table, node))
            return next((name for name in fitting if name not in taken), None)
        host, number = str(node["NodeManagerHostname"]), 1
        while (name := host if number == 1 else f"{host}-{number}") in taken:
            number += 1
        return name

    def _try_start(self, node: Mapping[str, Any]) -> _Agent | None:
        """The agent of a node that takes part; None, and a trouble, where it can't be started."""
        name = self._names.get(node["NodeID"])
        if name is None:
            return None
        if name in self._agents:
            return self._agents[name]
        try:
            agent = _Agent(name, node["NodeID"], self._actor(name, node), _devices(node))
        except ValueError:  # an actor of that name is there
            self.troubles.append(
                f"{name}: another `bench fleet` is measuring there, or is stopping."
            )
            return None
        with self._turn:
            self._agents[name] = agent
        return agent

    def _actor(self, name: str, node: Mapping[str, Any]) -> Any:
        """A worker of Ray on that node, which no other driver has at the same time. Raises
        `ValueError` where another has it."""
        table = self._file.node(name)
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        options = {
            "num_cpus": 0,
            "max_restarts": 0,
            "max_concurrency": 4,
            "name": f"agent-{node['NodeID']}",
            "scheduling_strategy": affinity(node_id=node["NodeID"], soft=False),
        }
        kind = self._ray.remote(Node).options(**options)
        return kind.remote(table.python or "", dict(table.variables))

    def _try_facts(self, agent: _Agent) -> NodeFacts | None:
        """The node's facts; None, and a trouble, where it can't measure."""
        try:
            return self._facts(agent)
        except BenchError as error:
            self.troubles.append(str(error))
            self._drop(agent)
            return None

    def _facts(self, agent: _Agent) -> NodeFacts:
        """What the node's doctor says, and how far its clock is off. Raises `BenchError`."""
        self._answer(agent, agent.actor.clock.remote(), _START_S)
        before = time.time()
        there = self._answer(agent, agent.actor.clock.remote(), _ASK_S)
        offset = there - (before + time.time()) / 2
        asked = agent.actor.doctor.remote(_backends(self._file.node(agent.name)))
        doctor = self._answer(agent, asked, _DOCTOR_S)
        if "trouble" in doctor:
            raise BenchError(f"{agent.name}: {doctor['trouble']}.")
        return from_doctor(
            agent.name,
            doctor,
            python=doctor["python"],
            resources=agent.resources,
            clock_offset_s=offset,
        )

    def _answer(self, agent: _Agent, question: Any, timeout_s: float) -> Any:
        """What an agent answers. Raises `BenchError` where it doesn't."""
        try:
            return self._ray.get(question, timeout=timeout_s)
        except self._ray.exceptions.GetTimeoutError as error:
            raise BenchError(f"{agent.name}: no answer for {timeout_s:.0f} s.") from error
        except self._ray.exceptions.RayError as error:
            raise BenchError(f"{agent.name}: {first_line(error)}.") from error

    # -- leases and files ------------------------------------------------------------------------

    def send_files(self, node: str, wanted: Mapping[str, Path]) -> None:
        """A node that can't take them is lost."""
        agent = self._agents.get(node)
        if agent is None or not wanted:
            return
        try:
            lacking = self._answer(agent, agent.actor.lacks.remote(list(wanted)), _ASK_S)
            for sha256, came in lacking.items():
                self._send(agent, sha256, wanted[sha256], came)
        except BenchError as error:
            self._lose(agent, str(error))

    def _send(self, agent: _Agent, sha256: str, path: Path, offset: int) -> None:
        """One content, from where an earlier sending stopped."""
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(offset)
            while True:
                data = file.read(_PIECE_BYTES)
                last = offset + len(data) >= size
                taken = agent.actor.take.remote(sha256, offset, data, last)
                trouble = self._answer(agent, taken, _ASK_S)
                if trouble is not None:
                    raise BenchError(f"{agent.name}: {trouble}.")
                offset += len(data)
                if last:
                    return

    def begin(self, node: str, lease: Lease, order: Order) -> None:
        """A node that can't begin says so by an event."""
        agent = self._agents.get(node)
        if agent is None:
            self._events.put(Ended(node, lease.id, "agent-died: the node is gone."))
            return
        there = self._there(order.run)
        begun = agent.actor.begin.remote(lease.id, there, lease.cells, order.to_json())
        try:
            trouble = self._answer(agent, begun, _ASK_S)
        except BenchError as error:
            self._lose(agent, str(error))
            return
        if trouble is not None:
            self._events.put(Ended(node, lease.id, trouble))
            return
        with self._turn:
            agent.lease, agent.run, agent.after, agent.question = lease.id, order.run, 0, None
            agent.runs.add(order.run)

    def _there(self, run: str) -> str:
        """What a run directory is called on its node, where those of other fleet runs, and of
        drivers that were killed, may lie."""
        return f"{self._session}-{run}"

    def stop(self, node: str) -> None:
        """Returns once the node is free."""
        agent = self._agents.get(node)
        if agent is None:
            return
        with self._turn:
            agent.lease, after = "", agent.after
        try:
            self._answer(agent, agent.actor.stop.remote(after), _ASK_S)
        except BenchError as error:
            self._lose(agent, str(error))

    def events(self, timeout_s: float) -> Sequence[Event]:
        """See `bench.fleet.transport.Transport.events`."""
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._events.get(timeout=timeout_s))
            while True:
                found.append(self._events.get_nowait())
        return found

    def close(self) -> None:
        """See `bench.fleet.transport.Transport.close`."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._asking.is_alive():
            self._asking.join(LOST_S)
        stopped = [agent.actor.stop.remote() for agent in self._agents.values()]
        if stopped:
            self._ray.wait(stopped, num_returns=len(stopped), timeout=LOST_S)
        # Nobody comes back to them: a driver that resumes begins others.
        forgotten = [
            agent.actor.forget.remote([self._there(run) for run in agent.runs])
            for agent in self._agents.values()
        ]
        if forgotten:
            self._ray.wait(forgotten, num_returns=len(forgotten), timeout=_ASK_S)
        self._ray.shutdown()

    # -- the thread that asks --------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask every agent that has a lease, and look for nodes that have come."""
        while not self._closed.is_set():
            try:
                self._take_answers()
                if time.monotonic() - self._looked_s > _LOOK_S:
                    self._looked_s = time.monotonic()
                    self._look()
            except Exception as error:  # the cluster itself is gone
                if self._closed.is_set():
                    return
                for agent in list(self._agents.values()):
                    self._lose(agent, f"the cluster doesn't answer: {first_line(error)}")
                time.sleep(_LOOK_S)

    def _take_answers(self) -> None:
        with self._turn:
            agents = list(self._agents.values())
            for agent in agents:
                if agent.question is None:
                    agent.question = agent.actor.poll.remote(agent.lease, agent.after, _WAIT_S)
                    agent.asked_s = time.monotonic()
            asked = {agent.question: agent for agent in agents}
        if not asked:
            time.sleep(_TURN_S)
            return
        ready, _ = self._ray.wait(list(asked), num_returns=1, timeout=_TURN_S)
        for question in ready:
            self._take(asked[question], question)
        for agent in agents:
            silent_s = time.monotonic() - agent.asked_s
            if agent.question is not None and silent_s > LOST_S:
                self._lose(agent, f"no answer for {silent_s:.0f} s")

    def _take(self, agent: _Agent, question: Any) -> None:
        """The answer of one agent, as events."""
        try:
            items: list[Item] = self._ray.get(question, timeout=_TURN_S)
        except self._ray.exceptions.GetTimeoutError:
            return  # it is on its way
        except self._ray.exceptions.RayError as error:
            self._lose(agent, first_line(error))
            return
        with self._turn:
            if agent.question is question:
                agent.question = None
            for kind, what in items:
                if what["lease"] != agent.lease:
                    continue  # of a lease that was stopped
                agent.after += 1
                if kind == "grew":
                    self._events.put(
                        Grew(agent.name, agent.run, what["path"], what["offset"], what["data"])
                    )
                elif kind == "ended":
                    agent.lease = ""
                    self._events.put(Ended(agent.name, what["lease"], what["error"]))

    def _look(self) -> None:
        """Start an agent on nodes that have come, and on those whose agent was lost."""
        alive = self._alive()
        ids = {node["NodeID"] for node in alive}
        for agent in list(self._agents.values()):
            if agent.node_id not in ids:
                self._lose(agent, "the node left the cluster")
        self._give_names(alive)
        known = {agent.node_id for agent in self._agents.values()} | self._joining
        now_s = time.monotonic()
        for node in alive:
            node_id = node["NodeID"]
            due = now_s - self._refused_s.get(node_id, -_AGAIN_S) >= _AGAIN_S
            if node_id in self._names and node_id not in known and due:
                self._joining.add(node_id)
                threading.Thread(target=self._join, args=[node], daemon=True).start()

    def _join(self, node: Mapping[str, Any]) -> None:
        """In a thread: an agent for a node that has come, and its doctor, which takes a while."""
        try:
            agent = self._try_start(node)
            facts = self._try_facts(agent) if agent is not None else None
            if facts is not None:
                self._events.put(Joined(facts))
            else:
                self._refused_s[node["NodeID"]] = time.monotonic()
        finally:
            self._joining.discard(node["NodeID"])

    def _lose(self, agent: _Agent, why: str) -> None:
        """Let a node go; what still comes of it is of nobody any more."""
        with self._turn:
            if self._agents.get(agent.name) is not agent:
                return
            self._drop(agent)
            self._events.put(Lost(agent.name, why))

    def _drop(self, agent: _Agent) -> None:
        with self._turn:
            self._agents.pop(agent.name, None)
        self._ray.kill(agent.actor, no_restart=True)


def _matches(name: str, table: NodeTable, node: Mapping[str, Any]) -> bool:
    """Whether a node of the cluster is the one that the fleet file means."""
    if table.node_id is not None:
        return bool(node["NodeID"].startswith(table.node_id))
    if table.resource is not None:
        return table.resource in node["Resources"]
    host = table.host or name
    return host in (node["NodeManagerHostname"], node["NodeManagerAddress"], node.get("NodeName"))


def _backends(table: NodeTable) -> list[str]:
    """The backends that a node takes part with; empty means whatever it has."""
    named = [parse_target(text).backend for text in table.targets or ()]
    return [] if "*" in named else list(dict.fromkeys(named))


def _devices(node: Mapping[str, Any]) -> dict[str, float]:
    """What Ray, or whoever started it there, calls the node's devices."""
    return {k: v for k, v in node["Resources"].items() if not k.startswith(_NO_DEVICE)}
