"""Keys and credentials come in safely and never show (K1 ... K3)."""

import copy
import json
import logging
import pickle
import traceback

import pytest
from order_reference import KEY, OWNER
from typer.testing import CliRunner

from polytraders.cli import app
from polytraders.venue.orders import (
    Credentials,
    Key,
    auth_headers,
    hmac_signature,
    load_credentials,
    load_key,
    login_headers,
    read_keystore,
    verify_login,
    write_keystore,
)
from polytraders.venue.orders import keys as module
from polytraders.venue.refusal import Refused

SECRET = "q83vASNFZ4mrze8BI0Vn" + "iavN7wEjRWeJq83vASNFZ4k="
PASSPHRASE, WORDS = "open sesame, twice", "correct horse battery staple"
LIGHT = {"kdf": "pbkdf2", "iterations": 1}  # the shape of a keystore; a real one takes a second to open


def told(error: BaseException) -> str:
    """All that a handler could print of an error: message, context, and every local variable of every frame of ours."""
    story = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = repr(error) + str(error) + "".join(traceback.format_exception(error))
    chain = [story, story.__cause__, *([story.__context__] if story.__context__ else [])]
    for part in filter(None, chain):
        ours = [frame for frame in part.stack if "/polytraders/" in frame.filename]
        text += "".join(f"{name}={value}\n" for frame in ours for name, value in (frame.locals or {}).items())
    return text


def refused(call, *arguments, **named) -> Refused:
    with pytest.raises(Refused) as caught:
        call(*arguments, **named)
    return caught.value


@pytest.fixture
def keystore(tmp_path, monkeypatch):
    import eth_keyfile

    make = eth_keyfile.create_keyfile_json
    monkeypatch.setattr(eth_keyfile, "create_keyfile_json", lambda key, words: make(key, words, **LIGHT))
    path = tmp_path / "key.json"
    assert write_keystore(path, KEY, WORDS).address == OWNER
    return path


def test_a_key_has_the_address_of_its_owner_with_or_without_a_prefix():
    assert Key(KEY).address == Key(KEY[2:]).address == Key(f" {KEY}\n").address == OWNER
    assert Key(bytes.fromhex(KEY[2:])).address == OWNER


@pytest.mark.parametrize(
    "change", [lambda k: k[:-1], lambda k: k[:-1] + "g", lambda k: k + "00", lambda k: k[:-2] + "é1"]
)
def test_a_bad_key_is_refused_and_not_shown(change):
    bad = change(KEY)
    error = refused(Key, bad)
    assert error.code == "SEC_KEY_UNUSABLE" and bad[2:20] not in told(error)


@pytest.mark.parametrize("bad", ["", "0x" + "f" * 64, "0x" + "0" * 64, None, 7])
def test_what_is_no_key_at_all_is_refused(bad):
    assert refused(Key, bad).code == "SEC_KEY_UNUSABLE"


def test_a_key_and_credentials_show_in_no_text_and_no_log(caplog):
    key, credentials = Key(KEY), Credentials("an-api-key", SECRET, PASSPHRASE)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("polytraders").warning("signed by %s and %r with %s", key, key, credentials)
    shown = caplog.text + f"{key} {key!r} {[key]} {credentials!r} {vars} {json.dumps([key, credentials], default=str)}"
    assert OWNER in shown and "an-api-key" in shown
    for hidden in (KEY[2:], str(int(KEY, 16)), SECRET, PASSPHRASE, repr(bytes.fromhex(KEY[2:]))):
        assert hidden not in shown


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_key_and_credentials_are_neither_copied_nor_pickled(copying):
    for held in (Key(KEY), Credentials("an-api-key", SECRET, PASSPHRASE)):
        with pytest.raises(TypeError) as caught:
            copying(held)
        assert KEY[2:] not in told(caught.value) and SECRET not in told(caught.value)
        assert not hasattr(held, "__dict__")


def test_a_failure_while_signing_tells_the_address_and_not_the_key():
    with pytest.raises(ValueError, match="32 bytes") as caught:
        Key(KEY).sign(b"too short")
    assert OWNER in told(caught.value) and KEY[2:] not in told(caught.value)


# -- where a key comes from ----------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment():
    assert load_key({module.KEY: KEY}).address == OWNER


def test_no_key_and_two_keys_are_refused_with_what_to_set():
    for environment in ({}, {module.KEY: KEY, module.KEYSTORE: "key.json"}):
        error = refused(load_key, environment)
        assert error.code == "SEC_KEY_UNUSABLE" and module.KEYSTORE in error.mend and KEY[2:] not in told(error)


def test_a_bad_key_in_the_environment_is_not_shown():
    assert KEY[2:20] not in told(refused(load_key, {module.KEY: KEY[:-1]}))


def test_a_keystore_gives_the_key_it_was_made_from_and_holds_it_encrypted(keystore, tmp_path):
    assert keystore.stat().st_mode & 0o777 == 0o600 and KEY[2:] not in keystore.read_text()
    assert json.loads(keystore.read_text())["version"] == 3
    assert read_keystore(keystore, WORDS).address == OWNER
    words = tmp_path / "words"
    words.touch(0o600)
    words.write_text(WORDS + "\n")
    assert load_key({module.KEYSTORE: str(keystore), module.PASSWORD_FILE: str(words)}).address == OWNER
    assert refused(load_key, {module.KEYSTORE: str(keystore)}).code == "SEC_KEY_UNUSABLE"


def test_a_keystore_made_by_eth_account_opens(tmp_path):
    from eth_account import Account

    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_text(json.dumps(Account.encrypt(KEY, WORDS, kdf="pbkdf2", iterations=1)))
    assert read_keystore(path, WORDS).address == OWNER


def test_a_wrong_password_is_refused_and_not_shown(keystore):
    error = refused(read_keystore, keystore, "open the pod bay doors")
    assert error.code == "SEC_KEY_UNUSABLE" and "pod bay" not in told(error)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_keystore_that_others_can_read_is_not_opened(keystore, mode):
    keystore.chmod(mode)
    error = refused(read_keystore, keystore, WORDS)
    assert error.code == "SEC_KEY_EXPOSED" and f"{mode:04o}" in error.what and WORDS not in told(error)


def test_a_password_file_that_others_can_read_is_not_opened(keystore, tmp_path):
    (tmp_path / "words").write_text(WORDS)
    (tmp_path / "words").chmod(0o644)
    environment = {module.KEYSTORE: str(keystore), module.PASSWORD_FILE: str(tmp_path / "words")}
    assert refused(load_key, environment).code == "SEC_KEY_EXPOSED"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 3}', '{"version": 3, "crypto": {"kdf": "x"}}'])
def test_a_file_that_is_no_keystore_is_refused(content, tmp_path):
    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_text(content)
    assert refused(read_keystore, path, WORDS).code == "SEC_KEY_UNUSABLE"
    assert refused(read_keystore, tmp_path / "none.json", WORDS).code == "SEC_KEY_UNUSABLE"


def test_a_keystore_is_never_overwritten(keystore):
    before = keystore.read_bytes()
    assert refused(write_keystore, keystore, KEY, "another").code == "SEC_KEY_UNUSABLE"
    assert keystore.read_bytes() == before


def test_the_command_makes_a_keystore_and_shows_neither_key_nor_password(keystore, tmp_path):
    """`keystore` makes the encryption of this test light."""
    path = tmp_path / "made.json"
    done = CliRunner().invoke(app, ["venue", "keystore", str(path)], input=f"{KEY}\n{WORDS}\n{WORDS}\n")
    assert done.exit_code == 0 and OWNER in done.output and module.KEYSTORE in done.output
    assert KEY[2:] not in done.output and WORDS not in done.output
    assert path.stat().st_mode & 0o777 == 0o600 and read_keystore(path, WORDS).address == OWNER
    again = CliRunner().invoke(app, ["venue", "keystore", str(path)], input=f"{KEY}\n{WORDS}\n{WORDS}\n")
    assert isinstance(again.exception, Refused) and KEY[2:] not in told(again.exception)


def test_credentials_come_whole_or_not_at_all():
    whole = {module.API_KEY: "an-api-key", module.API_SECRET: SECRET, module.API_PASSPHRASE: PASSPHRASE}
    assert load_credentials(whole).api_key == "an-api-key"
    for name in whole:
        error = refused(load_credentials, whole | {name: ""})
        assert error.code == "SEC_CREDENTIALS_UNUSABLE" and name in error.what and SECRET not in str(error)


# -- requests ------------------------------------------------------------------------------------------------


def test_the_known_answer_of_a_request_signature():
    zeros = "A" * 43 + "="
    signature = hmac_signature(zeros, 1_000_000, "test-sign", "/orders", '{"hash": "0x123"}')
    assert signature == "ZwAdJKvoYRlEKDkNMwd5BuwNNtg93kNaR_oU2HrfVvc="
    assert signature == hmac_signature(zeros, "1000000", "test-sign", "/orders", b'{"hash": "0x123"}')
    assert signature != hmac_signature(zeros, 1_000_000, "test-sign", "/orders")


@pytest.mark.parametrize("bad", [SECRET[:-2], "not base64!" + SECRET, ""])
def test_a_secret_that_is_none_is_refused_and_not_shown(bad):
    error = refused(hmac_signature, bad, 1, "GET", "/orders")
    assert error.code == "SEC_CREDENTIALS_UNUSABLE" and (not bad or bad not in told(error))


def test_headers_of_a_request_name_the_key_and_sign_the_very_bytes():
    credentials = Credentials("an-api-key", SECRET, PASSPHRASE)
    headers = auth_headers(credentials, OWNER, 1_700_000_000, "DELETE", "/cancel-all")
    assert headers == {
        "POLY_ADDRESS": OWNER,
        "POLY_API_KEY": "an-api-key",
        "POLY_PASSPHRASE": PASSPHRASE,
        "POLY_SIGNATURE": "ivtHCgEbnBpYHo0TVFw0Y3FwIZQldW-dspSQrR7cV_A=",
        "POLY_TIMESTAMP": "1700000000",
    }


def test_a_login_is_proved_by_the_key_and_by_nothing_else():
    headers = login_headers(Key(KEY), 137, 1_700_000_000, 3)
    signature = headers["POLY_SIGNATURE"]
    assert verify_login(OWNER.lower(), signature, 137, 1_700_000_000, 3)
    assert not verify_login(OWNER, signature, 137, 1_700_000_001, 3)
    assert not verify_login(OWNER, signature, 137, 1_700_000_000, 4)
    assert not verify_login(OWNER, signature, 80002, 1_700_000_000, 3)
    assert not verify_login("0x" + "22" * 20, signature, 137, 1_700_000_000, 3)
    assert refused(login_headers, Key(KEY), 1, 1_700_000_000).code == "SEC_WRONG_CHAIN"
