"""Risk template: the numbers of the law, as a validated part of the policy."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Units = Annotated[Decimal, Field(gt=0, le=Decimal(10) ** 9)]


class RiskTemplate(BaseModel):
    """
    Limits of the law for one policy.

    Fractions are of the capital at the start of the run, so that one template serves any account currency.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "default"
    order_qty_max: Units | None = Field(None, description="units of the instrument; none: only its notional counts")
    order_notional_max: Fraction = Field(0.15, description="notional of one order, fraction of capital")
    gross_max: Fraction = Field(1.0, description="sum of worst-case exposures, fraction of capital")
    net_max: Fraction = Field(1.0, description="net worst-case exposure, fraction of capital")
    instrument_max: Fraction = Field(0.5, description="worst-case exposure of one instrument, fraction of capital")
    inventory_max: Units | None = Field(None, description="worst-case position in units of the instrument")
    price_collar: Share = Field(0.03, description="distance of price and trigger from the reference, fraction")
    jump_max: Share = Field(
        0.05,
        description="distance between one price and the next, fraction of the smaller, beyond which the next is not "
        "believed until another agrees with it: it marks nothing and no order is let through on it",
        json_schema_extra={"since": 1},
    )
    stale_after_s: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        600.0, description="age of the reference price, seconds; the tape's own limit counts when it is lower"
    )
    daily_loss_max: Share = Field(0.03, description="loss since the first mark of the UTC day, fraction of capital")
    drawdown_max: Share = Field(0.10, description="loss from peak equity, fraction of the peak")
    orders_per_second: Count = Field(10, description="submissions and modifications in any one second")
    orders_per_minute: Count = Field(120, description="submissions and modifications in any sixty seconds")
    repeat_max: Count = Field(10, description="equal side and quantity submitted within the repeat window")
    repeat_window_s: Seconds = Field(60.0, description="seconds; RTS 6 article 15 repeated-execution throttle")
    repeat_action: Literal["deny", "halt"] = Field(
        "deny",
        description="what one too many does: denied until the window has passed, or trips the kill switch, until an "
        "operator releases it",
        json_schema_extra={"since": 1},
    )
    duplicate_window_s: Seconds = Field(1.0, description="seconds in which an identical working order is a duplicate")
    open_orders_max: Count = Field(20, description="working orders, in flight included")
    near_miss: Share = Field(
        0.8, description="share of a limit from which a near-miss is logged; a count of one is never a near-miss"
    )
    near_miss_action: Literal["notify", "size_down"] = Field(
        "size_down",
        description="what a lasting near-miss does beyond its row (exposures, working orders, losses); one of an "
        "order's own size, collar, staleness, rate or repetition is of the moment: logged only, as smaller orders "
        "afterwards would not help",
    )
    size_down_factor: Share = Field(0.5, description="sizing factor while a lasting near-miss lasts")
