"""What an agent version costs, in whole millionths of a US dollar, and what is assumed where an agent does not say.

Every figure is an integer. The one place that rounds is the cost of one record: tokens by the thousand and time by
the second both leave thousandths of a micro-dollar, which are added up exactly and rounded up once.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

# A token of an English text or of JSON is about this many bytes: what is assumed of an agent that reports none.
BYTES_PER_TOKEN: Final = 4

Rate = Annotated[int, Field(ge=0, le=10**12)]


class Price(BaseModel):
    """The price list of one agent version, in micro-dollars; what is left out costs nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    invocation_microusd: Rate = 0
    input_1k_microusd: Rate = 0
    output_1k_microusd: Rate = 0
    runtime_s_microusd: Rate = 0

    def cost(self, input_tokens: int, output_tokens: int, runtime_ms: int) -> int:
        """Return what one invocation or job costs, rounded up to the whole micro-dollar once."""
        thousandths = (
            input_tokens * self.input_1k_microusd
            + output_tokens * self.output_1k_microusd
            + runtime_ms * self.runtime_s_microusd
        )
        return self.invocation_microusd - (-thousandths // 1000)


FREE: Final = Price()


def tokens_in(size_bytes: int) -> int:
    """Return how many tokens so many bytes are taken for."""
    return -(-size_bytes // BYTES_PER_TOKEN)
