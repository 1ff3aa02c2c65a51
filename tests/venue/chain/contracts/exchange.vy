# pragma version ~=0.4.0
# What of the exchange a wallet sees: fills with their event, order status, and the user's own emergency stop.

interface Dollar:
    def transferFrom(sender: address, to: address, amount: uint256) -> bool: nonpayable
    def transfer(to: address, amount: uint256) -> bool: nonpayable

interface Tokens:
    def mint(to: address, id: uint256, amount: uint256): nonpayable
    def safeTransferFrom(sender: address, to: address, id: uint256, amount: uint256, data: Bytes[64]): nonpayable

event OrderFilled:
    orderHash: indexed(bytes32)
    maker: indexed(address)
    taker: indexed(address)
    side: uint8
    tokenId: uint256
    makerAmountFilled: uint256
    takerAmountFilled: uint256
    fee: uint256
    builder: bytes32
    metadata: bytes32

event UserPaused:
    user: indexed(address)
    effectivePauseBlock: uint256

struct Status:
    filled: bool
    remaining: uint248

INTERVAL: constant(uint256) = 3
pusd: Dollar
ctf: Tokens
paused_from: HashMap[address, uint256]
statuses: HashMap[bytes32, Status]

@deploy
def __init__(pusd: address, ctf: address):
    self.pusd = Dollar(pusd)
    self.ctf = Tokens(ctf)

@external
@view
def getOrderStatus(orderHash: bytes32) -> Status:
    return self.statuses[orderHash]

@external
@view
def userPauseBlockInterval() -> uint256:
    return INTERVAL

@internal
@view
def _paused(user: address) -> bool:
    return self.paused_from[user] != 0 and block.number >= self.paused_from[user]

@external
@view
def isUserPaused(user: address) -> bool:
    return self._paused(user)

@external
def pauseUser():
    self.paused_from[msg.sender] = block.number + INTERVAL
    log UserPaused(user=msg.sender, effectivePauseBlock=self.paused_from[msg.sender])

@external
def unpauseUser():
    self.paused_from[msg.sender] = 0

@external
def settle(
    orderHash: bytes32, maker: address, taking: bool, side: uint8, tokenId: uint256, gives: uint256, gets: uint256,
    fee: uint256, builder: bytes32, remaining: uint256,
):
    assert not self._paused(maker), "UserIsPaused"
    taker: address = self if taking else msg.sender
    if side == 0:
        extcall self.pusd.transferFrom(maker, self, gives + fee)
        extcall self.ctf.mint(maker, tokenId, gets)
    else:
        extcall self.ctf.safeTransferFrom(maker, self, tokenId, gives, b"")
        extcall self.pusd.transfer(maker, gets - fee)
    self.statuses[orderHash] = Status(filled=remaining == 0, remaining=convert(remaining, uint248))
    log OrderFilled(
        orderHash=orderHash, maker=maker, taker=taker, side=side, tokenId=tokenId, makerAmountFilled=gives,
        takerAmountFilled=gets, fee=fee, builder=builder, metadata=empty(bytes32),
    )
