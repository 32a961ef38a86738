"""Cases: what is sent is what the peer gets."""

from typing import Final

from agent_messaging.testing.conformance._transports.trial import (
    LONG,
    MakeTransport,
    frame_of,
    opened,
)

#: Texts of JSON as the library, or a dumps of the host's, may write them.
_FRAMES: Final = (
    "{}",
    "[]",
    '""',
    "0",
    r'{"text":"\"quoted\" \\ and/or \/"}',
    r'{"text":"two\nlines\r\n\tand \u0000 and \ud83d\ude00"}',
    '{"text":" %s %d {0} $1 &amp; <b>\'\' "}',
    '{"text":"é and e\u0301, ß, 漢字, \u200f\u05e9"}',
    '{"text":"😀 and 👩\u200d🚀"}',
    # What some take for the end of a line, and JSON does not; and what some leave out.
    '{"text":"\u0085 \u2028 \u2029 \ufeff \u007f"}',
)

#: Around where headers and buffers change their size.
_LENGTHS: Final = tuple(
    size + beside for size in (126, 1024, 4096, 16_384, 65_536) for beside in (-1, 0, 1)
)


async def frames_arrive_unchanged(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as connection:
        await connection.passes(*_FRAMES)


async def frames_of_any_length_arrive_whole(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as connection:
        await connection.passes(*[frame_of(length) for length in _LENGTHS])
        # Characters of four bytes: wherever it is cut, most cuts are within one.
        await connection.passes(f'"{"😀" * 65_535}"')
        await connection.passes(LONG)


async def frames_arrive_in_their_order_none_missing_and_none_twice(
    make_transport: MakeTransport,
) -> None:
    async with opened(make_transport) as connection:
        await connection.passes(
            *[f'{{"seq":{seq},"text":{frame_of(seq + 2)}}}' for seq in range(300)]
        )
        await connection.passes('"the last"')


async def a_frame_arrives_though_none_follows(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as connection:
        for number in range(5):
            await connection.passes(f"{number}")
