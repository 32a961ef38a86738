"""Channels with the run awaited in `receive`: shorter, but it does not see that a client is gone.

`CHAT_SECRET=... python -m hosts.channels_awaiting_host`, in docs/examples. Channels calls
`disconnect` only after `receive` returned, and Daphne accepts and drops what is sent meanwhile: the
run completes for nobody, unless it takes longer than Daphne's `application_close_timeout`.
"""

from hosts.channels_host import ChatConsumer, main, router


class AwaitingConsumer(ChatConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        frame = bytes_data or b"" if text_data is None else text_data
        await router.handle_frame(self.user_id, self.send, frame)


if __name__ == "__main__":
    main(AwaitingConsumer, close_timeout=60)
