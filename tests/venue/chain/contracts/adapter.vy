# pragma version ~=0.4.0
# Splits, merges, redeems and converts with the signatures of the venue's collateral adapters. Payouts in pips.

interface Dollar:
    def transferFrom(sender: address, to: address, amount: uint256) -> bool: nonpayable
    def transfer(to: address, amount: uint256) -> bool: nonpayable

interface Tokens:
    def mint(to: address, id: uint256, amount: uint256): nonpayable
    def burn(owner: address, id: uint256, amount: uint256): nonpayable
    def balanceOf(owner: address, id: uint256) -> uint256: view
    def position(condition: bytes32, index_set: uint256) -> uint256: view
    def payouts(condition: bytes32, index_set: uint256) -> uint256: view

pusd: Dollar
ctf: Tokens
questions: public(HashMap[bytes32, DynArray[bytes32, 16]])

@deploy
def __init__(pusd: address, ctf: address):
    self.pusd = Dollar(pusd)
    self.ctf = Tokens(ctf)

@external
def add_question(market: bytes32, condition: bytes32):
    self.questions[market].append(condition)

@internal
@view
def _check(collateral: address, parent: bytes32, partition: DynArray[uint256, 2]):
    assert collateral == self.pusd.address, "not pUSD"
    assert parent == empty(bytes32), "nested"
    assert len(partition) == 2 and partition[0] == 1 and partition[1] == 2, "not both outcomes"

@external
def splitPosition(collateral: address, parent: bytes32, condition: bytes32, partition: DynArray[uint256, 2], amount: uint256):
    self._check(collateral, parent, partition)
    extcall self.pusd.transferFrom(msg.sender, self, amount)
    for index_set: uint256 in partition:
        extcall self.ctf.mint(msg.sender, staticcall self.ctf.position(condition, index_set), amount)

@external
def mergePositions(collateral: address, parent: bytes32, condition: bytes32, partition: DynArray[uint256, 2], amount: uint256):
    self._check(collateral, parent, partition)
    for index_set: uint256 in partition:
        extcall self.ctf.burn(msg.sender, staticcall self.ctf.position(condition, index_set), amount)
    extcall self.pusd.transfer(msg.sender, amount)

@external
def redeemPositions(collateral: address, parent: bytes32, condition: bytes32, partition: DynArray[uint256, 2]):
    self._check(collateral, parent, partition)
    paid: uint256 = 0
    for index_set: uint256 in partition:
        id: uint256 = staticcall self.ctf.position(condition, index_set)
        held: uint256 = staticcall self.ctf.balanceOf(msg.sender, id)
        extcall self.ctf.burn(msg.sender, id, held)
        paid += held * staticcall self.ctf.payouts(condition, index_set) // 10000
    extcall self.pusd.transfer(msg.sender, paid)

@external
def convertPositions(market: bytes32, index_set: uint256, amount: uint256):
    converted: uint256 = 0
    place: uint256 = 0
    for condition: bytes32 in self.questions[market]:
        if (index_set >> place) & 1 == 1:
            extcall self.ctf.burn(msg.sender, staticcall self.ctf.position(condition, 2), amount)
            converted += 1
        else:
            extcall self.ctf.mint(msg.sender, staticcall self.ctf.position(condition, 1), amount)
        place += 1
    assert converted > 0, "nothing to convert"
    extcall self.pusd.transfer(msg.sender, (converted - 1) * amount)
