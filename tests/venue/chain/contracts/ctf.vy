# pragma version ~=0.4.0
# Outcome tokens: balances by id, operators for all of them. Whoever is an operator of the owner may make and burn too.

event ApprovalForAll:
    account: indexed(address)
    operator: indexed(address)
    approved: bool

balances: HashMap[address, HashMap[uint256, uint256]]
isApprovedForAll: public(HashMap[address, HashMap[address, bool]])
payouts: public(HashMap[bytes32, HashMap[uint256, uint256]])

@external
@view
def balanceOf(owner: address, id: uint256) -> uint256:
    return self.balances[owner][id]

@external
def setApprovalForAll(operator: address, approved: bool):
    self.isApprovedForAll[msg.sender][operator] = approved
    log ApprovalForAll(account=msg.sender, operator=operator, approved=approved)

@external
@view
def position(condition: bytes32, index_set: uint256) -> uint256:
    return convert(keccak256(concat(condition, convert(index_set, bytes32))), uint256)

@external
def report(condition: bytes32, yes: uint256, no: uint256):
    self.payouts[condition][1] = yes
    self.payouts[condition][2] = no

@external
def mint(to: address, id: uint256, amount: uint256):
    self.balances[to][id] += amount

@external
def burn(owner: address, id: uint256, amount: uint256):
    assert self.isApprovedForAll[owner][msg.sender], "not an operator"
    self.balances[owner][id] -= amount

@external
def safeTransferFrom(sender: address, to: address, id: uint256, amount: uint256, data: Bytes[64]):
    assert sender == msg.sender or self.isApprovedForAll[sender][msg.sender], "not an operator"
    self.balances[sender][id] -= amount
    self.balances[to][id] += amount
