"""Relayed standard error of a process that trains with others."""

from i3ad_jax.runtime.relay import relayed


def test_relay_leaves_out_the_coordination_service() -> None:
    service = b"E1126 15:07:28.560142   20711 coordination_service.cc:1549] tasks are unhealthy:\n"
    other = b"W1126 15:07:28.560142   20711 cuda_executor.cc:12] little memory\n"
    fatal = (
        b"F1126 15:07:28.560910   20722 client.h:80] "
        b"the JAX distributed service detected fatal errors.\n"
    )
    stack = b"*** Check failure stack trace: ***\n"
    assert [*relayed([service, b"1\n", other, b"left\n", service], b"lost\n")] == [other, b"left\n"]
    greetings = [b"[Gloo] Rank [Gloo] Rank 1 is connected to 3 peer ranks. \n", b"3\n", b"\n"]
    assert [*relayed([*greetings, other], b"lost\n")] == [other]
    assert [*relayed([other, fatal, stack, other], b"lost\n")] == [other, b"lost\n"]
    assert [*relayed([b"error: own\n", fatal, stack], b"lost\n")] == [b"error: own\n"]
