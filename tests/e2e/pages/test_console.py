from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from dodopayments import AuthenticationError, DodoPayments
from playwright.sync_api import Browser, Page, expect

if TYPE_CHECKING:
    from tests.e2e.pages.conftest import Server

pytestmark = pytest.mark.browser


def make_key(page: Page, server: Server, name: str) -> str:
    page.goto(f"{server.url}/app/keys")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make key").click()
    return page.locator("#secret").inner_text()


def subscribe(client: DodoPayments, meter_id: str, customer_name: str) -> str:
    customer = client.customers.create(email=f"{customer_name}@example.com", name=customer_name)
    product = client.products.create(
        name="Streaming",
        tax_category="saas",
        price={
            "type": "usage_based_price",
            "currency": "USD",
            "fixed_price": 0,
            "discount": 0,
            "purchasing_power_parity": False,
            "payment_frequency_count": 1,
            "payment_frequency_interval": "Month",
            "subscription_period_count": 20,
            "subscription_period_interval": "Year",
            "meters": [
                {"meter_id": meter_id, "price_per_unit": "0.000000005", "free_threshold": 1_000_000}
            ],
        },
    )
    client.subscriptions.create(
        billing={"country": "DE"},
        customer={"customer_id": customer.customer_id},
        product_id=product.product_id,
        quantity=1,
    )
    return customer.customer_id


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_keys_meters_usage_and_an_invoice_in_a_browser(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    hosts, complaints = set[str](), list[str]()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("console", lambda message: complaints.append(message.text))

    page.goto(server.link())
    expect(page.get_by_role("heading", name="Usage")).to_be_visible()

    token = make_key(page, server, "browser test")
    assert token.startswith("sg_test_")
    page.goto(f"{server.url}/app/keys")
    assert token not in page.content()

    page.goto(f"{server.url}/app/meters")
    page.get_by_label("Name", exact=True).fill("High quality")
    page.get_by_label("Event name").fill("stream_consumption")
    page.get_by_label("Filter: property (optional)").fill("quality")
    page.get_by_label("Filter: value").fill("1080p")
    page.get_by_role("button", name="Make meter").click()
    row = page.locator("#meters tbody tr")
    expect(row).to_contain_text("sum of bytes")

    with DodoPayments(bearer_token=token, base_url=server.url, max_retries=0) as client:
        customer_id = subscribe(client, row.locator("td").last.inner_text(), "viewer")
        client.usage_events.ingest(
            events=[
                {
                    "event_id": f"browser-{number}",
                    "customer_id": customer_id,
                    "event_name": "stream_consumption",
                    "metadata": {"bytes": quantity, "quality": quality},
                }
                for number, (quantity, quality) in enumerate(
                    [(2**53 + 1, "1080p"), (4_000_000_000, "1080p"), (7, "360p")]
                )
            ]
        )
        page.goto(f"{server.url}/app/")
        usage = page.locator("#usage tbody tr")
        expect(usage).to_contain_text(str(2**53 + 1 + 4_000_000_000), timeout=15_000)
        expect(page.locator("#events tbody tr")).to_have_count(3)

        usage.get_by_role("link", name=customer_id).click()
        invoice = page.locator("section.invoice")
        expect(invoice.locator("[data-consumed]")).to_have_text(str(2**53 + 1 + 4_000_000_000))
        cents = round((2**53 + 1 + 4_000_000_000 - 1_000_000) * 5 / 10**9)
        expect(invoice.locator("[data-total]")).to_have_text(f"{cents // 100}.{cents % 100:02} USD")

        page.goto(f"{server.url}/app/keys")
        page.get_by_role("button", name="Revoke").first.click()
        expect(page.locator("#keys tbody tr").first).to_contain_text("revoked")
        with pytest.raises(AuthenticationError):
            client.usage_events.list()

    assert hosts == {urlsplit(server.url).netloc}
    assert complaints == []


def test_a_sign_in_link_works_once(browser: Browser, server: Server) -> None:
    link = server.link()
    browser.new_context().new_page().goto(link)
    second = browser.new_context().new_page()
    second.goto(link)
    expect(second.get_by_role("alert")).to_contain_text("used already")
    second.goto(f"{server.url}/app/keys")
    expect(second.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_form_without_the_session_token_changes_nothing(browser: Browser, server: Server) -> None:
    page = browser.new_context().new_page()
    page.goto(server.link())
    page.goto(f"{server.url}/app/keys")
    page.get_by_label("Name").fill("forged")
    page.evaluate("document.querySelectorAll('[name=csrf]').forEach(each => each.value = 'no')")
    page.get_by_role("button", name="Make key").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was changed")
    page.goto(f"{server.url}/app/keys")
    assert "forged" not in page.content()


def test_a_refused_meter_is_shown_with_its_reason(browser: Browser, server: Server) -> None:
    page = browser.new_context().new_page()
    page.goto(server.link())
    page.goto(f"{server.url}/app/meters")
    page.get_by_label("Name", exact=True).fill("No key")
    page.get_by_label("Event name").fill("kept")
    page.get_by_label("Over property (not for count)").fill("")
    page.get_by_role("button", name="Make meter").click()
    expect(page.get_by_role("alert")).to_contain_text("aggregation.key")
    expect(page.get_by_label("Event name")).to_have_value("kept")


def test_a_customer_that_nothing_knows_is_told_from_one_that_nothing_bills(
    browser: Browser, server: Server
) -> None:
    page = browser.new_context().new_page()
    page.goto(server.link())
    page.goto(f"{server.url}/app/invoices?customer_id=nobody")
    expect(page.locator("main")).to_contain_text("Nothing knows nobody")


def test_pages_carry_a_policy_without_inline_script(server: Server) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    connection.request("GET", "/app/sign-in")
    answer = connection.getresponse()
    answer.read()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    connection.request("POST", "/app/links")
    refused = connection.getresponse()
    assert refused.status == 404
    assert "path" not in json.load(refused)
    connection.close()
