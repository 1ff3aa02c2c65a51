"""What arrives is wrong in every way there is: frames, answers and orders, changed at random from a seed.

`frames`   the market channel: never a wrong book that is called right
`account`  the user channel and the account's lists: nothing booked that cannot be
`bodies`   Gamma and the CLOB's market pages: read whole, or refused with a code
`posted`   what is sent to the local venue: refused in the venue's words, and no order but a signed one

`python -m bench.fuzz` runs all four at length and says what each refused, by kind.
"""
