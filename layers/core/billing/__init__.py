"""
Subscription billing, in three rings. A module imports only from rings above it, or from its own where it is said.

rules       errors plans periods proration holds subscriptions invoices customers entitlements usage webhooks
            dunning (cases, steps)  timers (what is to be done later)  domain_events  mails (which, of what)
            pure: no clock, no network, no environment, nothing from AWS or Stripe; time is an argument
doors       api (API Gateway)  gateway (Stripe)  queue (SQS)  secrets (Secrets Manager)
            bus (EventBridge)  ses (SES)  letters (Jinja2)  product (the product's own URL)  scheduler
            dynamodb (DynamoDB), and a module per table: plan_table customer_table usage_table webhook_table; the outbox
            one outside thing each; the doors that other doors may open are `secrets` and `dynamodb`
procedures  records (commit)  catalogue (sell)  registration (a customer at Stripe)
            changes (hold, apply, settle, recover)
            pricing (what a change costs)  sync (fetch, record)  standing (what a customer may)  metering (count)
            collecting (dunning)  reminding  timing  publishing (events)  mailing
            what more than one handler does with rules and doors; a procedure may use another
"""
