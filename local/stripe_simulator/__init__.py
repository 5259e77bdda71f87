"""
A Stripe for development and tests: speaks the HTTP form API, version 2026-10-28.endive, to the official library.

    simulator = Simulator()
    server = serve(simulator)
    stripe.StripeClient("sk_test", base_addresses={"api": f"http://127.0.0.1:{server.server_port}"})

`Simulator` is the account and may be used without HTTP (`handle`); `serve` is the door to it. It knows nothing of
the code that it is there to test.

It leaves out, and refuses where a call asks for it:
- meters, quotes, changes of what is billed `classic`, backdated or anchored creation, items as calls of their own,
  several payments of one invoice, discounts on customers, items and single invoices, coupons for some products or in
  several currencies, itemized proration discounts, tax rates of one's own;
- schedules that are not made from a subscription, that move a trial, or that start with a cancellation or an update
  pending; credit notes by line or out of band; Checkout but for a subscription of a known customer; the portal but for
  cancelling and a new card.
It lists the lines of an invoice with what waited in the order of its making, where Stripe has the newest first.
It does not do by itself: `invoice.upcoming`, the wait for an acknowledged `invoice.created`; an invoice with automatic
tax whose customer has lost the address says `requires_location_inputs` and is finalized all the same, without tax.
Of a payment that fails it keeps no charge and tells no `charge.failed`, nor what the bank and the network advise. It
tries only invoices of subscriptions again, and gives up none that the customer does not authenticate in time.
"""

from local.stripe_simulator.account import Settings
from local.stripe_simulator.door import Server, serve
from local.stripe_simulator.simulator import Call, Dropped, Simulator

__all__ = ["Call", "Dropped", "Server", "Settings", "Simulator", "serve"]
