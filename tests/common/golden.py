"""One message of every kind, frozen as bytes in tests/data: a frame of this version must stay readable.

`python -m tests.common.golden` writes the files anew; do so only together with a new protocol version.
"""

from pathlib import Path

import numpy as np

from graspfleet.common.messages import (
    KINDS,
    Ack,
    Batch,
    Bye,
    Evaluation,
    EvaluationStarted,
    Hello,
    Message,
    Refusal,
    Status,
    Weights,
)
from graspfleet.common.protocol import encode
from tests.fakes import SESSION, SPEC, make_batch, make_records

DATA = Path(__file__).parents[1] / "data"


def golden_messages() -> dict[str, Message]:
    policy = {
        "w0": np.arange(6, dtype=np.float32).reshape(3, 2) / 8,
        "b0": np.array([-0.5, 1e-20], np.float32),
        "empty": np.empty((0, 2), np.float32),
    }
    status = Status(
        state="running",
        metrics={"env_steps": 7, "q_mean": -1.5},
        actors={"a": "alive", "b": "gone", "c": "refused"},
        evaluators={"e": "late"},
        refused={"c": "spec: obs_dim 4, allowed 3"},
    )
    batch: Batch = make_batch(
        make_records(3, start=5),
        seq=9,
        weights_version=4,
        produced=30,
        discarded=1,
        episodes=((1.5, 50, True, 11), (-2.0, 49, None, 12)),
    )
    messages: list[Message] = [
        Hello(actor_id="a.b-c_1", session_id=SESSION, next_seq=3, spec=SPEC, answer=77),
        batch,
        Bye(actor_id="a", session_id=SESSION, next_seq=10, role="evaluator"),
        Evaluation(
            actor_id="e",
            session_id=SESSION,
            weights_version=4,
            env_steps=900,
            episodes=((0.25, 50, False, 13),),
            broken=2,
        ),
        EvaluationStarted(actor_id="e", session_id=SESSION, weights_version=4, env_steps=900),
        Weights(version=4, env_steps=900, updates=800, spec=SPEC, policy=policy),
        Ack(session_id=SESSION, next_seq=(1 << 45) - 1, challenge=77),
        Refusal(session_id=SESSION, key="k" * 40, reason="spec", detail="obs_dim 4, allowed 3"),
        status,
    ]
    by_kind = {message.kind: message for message in messages}
    assert by_kind.keys() == KINDS.keys()
    return by_kind


def golden_file(kind: str) -> Path:
    return DATA / f"{kind}.bin"


if __name__ == "__main__":
    for kind, message in golden_messages().items():
        golden_file(kind).write_bytes(encode(message))
        print(golden_file(kind))
