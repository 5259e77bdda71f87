"""
Every way a wish can end other than done. `code` is for programs and never changes; the message is for people.

BillingError
 ├─ Malformed             400  cannot be read; `fields` says where
 │   └─ Forged                 a webhook that is not Stripe's, not of now, or not of this stage
 ├─ PaymentDeclined       402  Stripe could not collect; nothing has changed
 ├─ Forbidden             403  not with this token
 ├─ NotFound              404  no such plan, customer, subscription or change
 ├─ Conflict              409
 │   ├─ Stale                  someone else moved the record first
 │   │   └─ InvoiceClosed      the invoice is no draft any more: it takes no item
 │   ├─ ChangeInFlight         another change is waiting for Stripe
 │   ├─ KeyReused              this Idempotency-Key has meant something else
 │   ├─ AlreadySubscribed      one live subscription per customer
 │   ├─ QuoteStale             what was quoted holds no more; `quote` is a fresh one
 │   ├─ QuoteUsed              a quote is good for one change
 │   ├─ PriceTaken             another version of a plan has this Stripe price
 │   ├─ AlreadyLinked          the customer is another Stripe customer
 │   ├─ AlreadyCorrected       something has taken this event's place: that is to be corrected
 │   └─ StripeCustomerTaken    the Stripe customer is another customer of ours
 ├─ Rejected              422  the rules say no, and would say no again
 │   ├─ PlanRetired            no one can buy it any more
 │   ├─ UnknownQuote           not of this customer, or long void
 │   ├─ SeatsOutOfRange
 │   ├─ OtherCurrency          a subscription keeps its currency
 │   ├─ NotChangeable          not while the subscription has this status
 │   ├─ NothingToChange        it is so already
 │   ├─ NotPausable            not while it is cancelled, going to be, or not running
 │   ├─ NothingToResume        neither cancelled nor paused
 │   ├─ NothingUpcoming        no further invoice is to come
 │   ├─ NoSuchPromotion        nobody can use this promotion code
 │   ├─ ReturnUrlRefused       not a host that the deployer allows
 │   ├─ PriceUnfit             no plan can stand for this Stripe price
 │   ├─ PriceDiffers           the plan costs something else than this Stripe price
 │   ├─ OverLimit              a hard limit would be passed
 │   ├─ RangeTooLarge          too many events would have to be read one by one
 │   ├─ NotCorrectable         there is nothing of this event that could be corrected so
 │   ├─ NoSuchStripeCustomer   Stripe has none of that name, or has deleted it
 │   └─ StripeRefused          Stripe's own rules say no
 └─ Unavailable           503  no answer to trust: the same wish may safely be sent again
     ├─ Misconfigured          our secret, or the key in it, is not what Stripe wants: for the operator
     ├─ Undecided              of a batch, `events` says what is decided and what is not
     ├─ Contended              too many at once on one record
     ├─ Busy                   Stripe turned us away before it began
     └─ Failed                 Stripe failed, and says so again under this key; it may have happened all the same
         └─ KeySpent           this key holds other parameters: no use to try it again
"""

from collections.abc import Sequence


class BillingError(Exception):
    code: str
    retry_after: int | None = None  # seconds

    def __init_subclass__(cls, code: str, retry_after: int | None = None):
        cls.code, cls.retry_after = code, retry_after or cls.retry_after


class Malformed(BillingError, code="malformed"):
    def __init__(self, message: str, fields: Sequence[dict] = ()):
        super().__init__(message)
        self.fields = list(fields)  # of {"field", "message"}

    @classmethod
    def of(cls, fields: Sequence[tuple[str, str]]) -> "Malformed":
        """Of fields by name, each with what is wrong with it."""
        said = [{"field": field, "message": message} for field, message in fields]
        return cls("; ".join(f"{field}: {message}" for field, message in fields), said)


class Forged(Malformed, code="forged"): ...


class PaymentDeclined(BillingError, code="payment_declined"): ...


class Forbidden(BillingError, code="forbidden"): ...


class NotFound(BillingError, code="not_found"): ...


class Unreadable(Exception):
    """One object, or record, that is not as we know them. No caller hears of it; it keeps no other from being read."""

    code = "unreadable"

    def __init__(self, id: str, customer: str):
        super().__init__(f"{id} cannot be read")
        self.id, self.customer = id, customer


class MissingAtStripe(Exception):
    """Stripe does not know what an event of its own is about; it may, once the key is of the right account again."""

    code = "missing_at_stripe"


class MailRefused(Exception):
    """SES will not take a mail until somebody sees to it. `reason` is its code; its message may name an address."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Conflict(BillingError, code="conflict"): ...


class Stale(Conflict, code="stale", retry_after=1): ...


class InvoiceClosed(Stale, code="stale"): ...


class ChangeInFlight(Conflict, code="change_in_flight", retry_after=5): ...


class KeyReused(Conflict, code="idempotency_key_reused"): ...


class AlreadySubscribed(Conflict, code="already_subscribed"): ...


class QuoteStale(Conflict, code="quote_stale"):
    def __init__(self, message: str, quote: dict):
        super().__init__(message)
        self.quote = quote


class QuoteUsed(Conflict, code="quote_used"): ...


class AlreadyCorrected(Conflict, code="already_corrected"): ...


class PriceTaken(Conflict, code="price_taken"): ...


class AlreadyLinked(Conflict, code="already_linked"): ...


class StripeCustomerTaken(Conflict, code="stripe_customer_taken"): ...


class Rejected(BillingError, code="rejected"): ...


class PlanRetired(Rejected, code="plan_retired"): ...


class UnknownQuote(Rejected, code="unknown_quote"): ...


class SeatsOutOfRange(Rejected, code="seats_out_of_range"): ...


class OtherCurrency(Rejected, code="other_currency"): ...


class NotChangeable(Rejected, code="not_changeable"): ...


class NothingToChange(Rejected, code="nothing_to_change"): ...


class NotPausable(Rejected, code="not_pausable"): ...


class NothingToResume(Rejected, code="nothing_to_resume"): ...


class NothingUpcoming(Rejected, code="nothing_upcoming"): ...


class NoSuchPromotion(Rejected, code="no_such_promotion"): ...


class ReturnUrlRefused(Rejected, code="return_url_refused"): ...


class PriceUnfit(Rejected, code="price_unfit"): ...


class PriceDiffers(Rejected, code="price_differs"): ...


class OverLimit(Rejected, code="over_limit"): ...


class RangeTooLarge(Rejected, code="range_too_large"): ...


class NotCorrectable(Rejected, code="not_correctable"): ...


class NoSuchStripeCustomer(Rejected, code="no_such_stripe_customer"): ...


class StripeRefused(Rejected, code="stripe_refused"): ...


class Unavailable(BillingError, code="unavailable", retry_after=5): ...


class Misconfigured(Unavailable, code="misconfigured", retry_after=60): ...


class Contended(Unavailable, code="contended", retry_after=1): ...


class Undecided(Unavailable, code="undecided"):
    def __init__(self, message: str, events: Sequence[dict]):
        super().__init__(message)
        self.events = list(events)


class Busy(Unavailable, code="stripe_busy"): ...


class Failed(Unavailable, code="stripe_failed"): ...


class KeySpent(Failed, code="stripe_key_spent"): ...


def named(failure: BaseException) -> str:
    """A failure and what it comes from, without their messages: those of libraries may quote a name or an address."""
    code = f" ({failure.code})" if isinstance(failure, (BillingError, MissingAtStripe)) else ""
    cause = f" from {named(failure.__cause__)}" if failure.__cause__ else ""
    return type(failure).__name__ + code + cause
