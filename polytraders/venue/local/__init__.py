"""A Polymarket on this machine: the CLOB's wire protocol on loopback, matched by the simulated venue's kernel.

Modules, in the order in which a request passes through them:

=============  =======================================================================
`server`       ports, start and stop, the pump that lets the tape and the timers run
`rest`         the CLOB's REST routes;  `indexes`: what of Gamma and Data is served
`history`      past prices;  `notices`, `rewards`: what an account may look up beside its orders
`streams`      the market and the user channel
`desk`         API keys, signatures of requests, rate limits, heartbeats, modes
`intake`       from a posted body to an order, or the refusal in the venue's words
`exchange`     markets, accounts, orders, trades: the kernel's adapter, without I/O
`tape`         what the other participants do: a recording, a synthetic session
`faults`       everything that can go wrong, seeded, and the switches for it (`admin`)
=============  =======================================================================
"""
