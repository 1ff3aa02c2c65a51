"""The chain behind the venue: what the wallet holds and allows there, and the few transactions trading needs.

`addresses` and `calls` are plain data and integers; web3 is imported by `nodes` and what stands on it only, and only
where the extra `chain` is installed.
"""
