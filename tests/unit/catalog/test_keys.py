from __future__ import annotations

import base64
import stat
import subprocess
import sys

import pytest

from streamgauge.core.errors import ConfigurationError, InvalidInputError, NotFoundError
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.migrations import MIGRATIONS, migrate
from tests.unit.catalog.conftest import Place

IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from streamgauge.server.catalog import Catalog
catalog = Catalog(Path(sys.argv[1]), url=sys.argv[2] or None)
print(getattr(catalog.keys, sys.argv[3])(**eval(sys.argv[4])))
catalog.close()
"""


def elsewhere(place: Place, method: str, **arguments: object) -> str:
    where = (str(place.path), place.url or "")
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, *where, method, repr(arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_token_names_its_mode_and_is_the_key_of_that_mode_alone(catalog: Catalog) -> None:
    test = catalog.keys.create(mode="test_mode", name="a")
    live = catalog.keys.create(mode="live_mode", name="b", scope="read")
    assert test.token.startswith("sg_test_")
    assert live.token.startswith("sg_live_")
    assert catalog.keys.authenticate(test.token) == test.key
    assert catalog.keys.authenticate(live.token) == live.key
    assert (test.key.scope, live.key.scope) == ("admin", "read")
    assert not live.key.strict_timestamps
    assert catalog.keys.list(mode="live_mode") == [live.key]
    assert catalog.keys.list() == [test.key, live.key]


@pytest.mark.parametrize("token", ["", "sg_test_", "sg_test_nope", "x" * 10_000, "sg_test_\u00e9"])
def test_an_unknown_token_is_nobody(catalog: Catalog, token: str) -> None:
    catalog.keys.create(mode="test_mode", name="a")
    assert catalog.keys.authenticate(token) is None


def test_a_token_of_the_other_mode_is_nobody(catalog: Catalog) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    assert catalog.keys.authenticate(made.token.replace("sg_test_", "sg_live_")) is None


def test_no_file_holds_the_token_or_a_plain_hash_of_it(catalog: Catalog, place: Place) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    secret = made.token.removeprefix("sg_test_").encode()
    for file in place.path.parent.iterdir():
        assert secret not in file.read_bytes()
    (row,) = place.execute("SELECT * FROM api_keys")
    assert not [value for value in row if secret.decode() in str(value)]


def test_the_secret_and_the_catalog_are_readable_to_us_alone(
    catalog: Catalog, place: Place
) -> None:
    files = [place.path.with_name("secret")] + [place.path] * (place.url is None)
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_revoking_takes_effect_with_the_next_request_and_twice_is_once(catalog: Catalog) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    assert catalog.keys.authenticate(made.token) is not None
    first = catalog.keys.revoke(made.key.id)
    assert catalog.keys.authenticate(made.token) is None
    assert catalog.keys.revoke(made.key.id) == first
    assert first.revoked_at is not None


def test_a_key_of_the_other_mode_cannot_be_revoked(catalog: Catalog) -> None:
    made = catalog.keys.create(mode="live_mode", name="a")
    with pytest.raises(NotFoundError):
        catalog.keys.revoke(made.key.id, mode="test_mode")
    assert catalog.keys.authenticate(made.token) == made.key


def test_a_key_that_another_process_makes_works_at_once(catalog: Catalog, place: Place) -> None:
    printed = elsewhere(place, "create", mode="test_mode", name="cli")
    token = next(part for part in printed.split("'") if part.startswith("sg_test_"))
    found = catalog.keys.authenticate(token)
    assert found is not None
    assert found.name == "cli"


def test_a_key_that_another_process_revokes_stops_at_once(catalog: Catalog, place: Place) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    assert catalog.keys.authenticate(made.token) == made.key
    elsewhere(place, "revoke", id=made.key.id)
    assert catalog.keys.authenticate(made.token) is None


def test_keys_work_after_a_restart(catalog: Catalog, place: Place) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    business_id = catalog.business_id
    catalog.close()
    again = place.open()
    assert again.business_id == business_id
    assert again.keys.authenticate(made.token) == made.key
    again.close()


def test_a_lost_secret_stops_the_start_while_keys_depend_on_it(
    catalog: Catalog, place: Place
) -> None:
    catalog.keys.create(mode="test_mode", name="a")
    catalog.close()
    place.path.with_name("secret").unlink()
    with pytest.raises(ConfigurationError, match="restore it from a backup"):
        place.open()


def test_another_secret_stops_the_start_since_no_key_would_work(
    catalog: Catalog, place: Place
) -> None:
    catalog.close()
    place.path.with_name("secret").write_bytes(b"x" * 32)
    with pytest.raises(ConfigurationError, match="is not the secret that the keys of"):
        place.open()


def test_a_row_copied_into_the_file_by_hand_is_no_key(catalog: Catalog, place: Place) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    place.execute(f"UPDATE api_keys SET hash = '{made.token}'")
    assert catalog.keys.authenticate(made.token) is None


@pytest.mark.parametrize(
    ("mode", "name", "field"),
    [("prod", "a", "mode"), ("test_mode", "", "name"), ("test_mode", "a\nb", "name")],
)
def test_a_bad_key_is_refused_and_not_made(
    catalog: Catalog, mode: str, name: str, field: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        catalog.keys.create(mode=mode, name=name)
    assert refused.value.field == field
    assert catalog.keys.list() == []


def test_an_unknown_token_works_from_the_instant_it_is_somebodys(place: Place) -> None:
    def chance(size: int) -> bytes:
        return bytes(size)

    token = "sg_test_" + base64.b32encode(bytes(30)).decode().lower()
    catalog = place.open(entropy=chance)
    assert catalog.keys.authenticate(token) is None
    made = catalog.keys.create(mode="test_mode", name="a")
    assert made.token == token
    assert catalog.keys.authenticate(token) == made.key
    catalog.close()


def test_guesses_take_no_memory(catalog: Catalog) -> None:
    made = catalog.keys.create(mode="test_mode", name="a")
    for number in range(100):
        assert catalog.keys.authenticate(f"sg_test_{number}") is None
    assert catalog.keys.authenticate(made.token) == made.key
    assert {known.id for known in catalog.keys._known.values()} <= {made.key.id}


def test_keys_of_an_earlier_release_may_do_what_they_could(place: Place) -> None:
    database = place.database()
    migrate(database, 1, MIGRATIONS[:2])
    with database.write() as connection:
        for id, writable in (("key_w", True), ("key_r", False)):
            connection.exec_driver_sql(
                "INSERT INTO api_keys (business_id, mode, id, name, writable, hash, hint, "
                f"created_at) VALUES ('bus_1', 'test_mode', '{id}', 'old', {writable}, '{id}', "
                "'hint', 1)"
            )
        connection.exec_driver_sql("INSERT INTO businesses VALUES ('bus_1', 1)")
    database.close()
    place.path.with_name("secret").write_bytes(bytes(32))
    catalog = place.open()
    scopes = {key.id: key.scope for key in catalog.keys.list()}
    assert scopes == {"key_w": "admin", "key_r": "read"}
    catalog.close()


def test_secrets_of_different_purposes_differ_and_stay(catalog: Catalog, place: Place) -> None:
    one, other = catalog.secret("pages"), catalog.secret("keys")
    catalog.close()
    again = place.open()
    assert one != other
    assert again.secret("pages") == one
    again.close()
