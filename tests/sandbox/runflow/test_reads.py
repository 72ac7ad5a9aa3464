"""The local Runflow over real sockets: search, pictures, lists and costs."""

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from bot.core.jobs import State
from bot.providers import http
from bot.providers.runflow.client import Runflow
from bot.sandbox.faults import Fault
from bot.sandbox.runflow.runs import TTL
from tests.sandbox.runflow.test_api import EDIT, KEY, T2I, Client, connected
from tests.sandbox.test_service import Client as RunComfyClient
from tests.sandbox.test_service import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


# Searching


async def test_a_run_is_found_by_its_reference(client: Client) -> None:
    await client.submit(around={"client_ref": "other"})
    wanted = await client.submit(around={"client_ref": "job-1"})

    for query in (
        "client_ref:job-1",
        "client_ref.EQ:'job-1'",
        'client_ref = "job-1"',
        "client_ref.EQ:'job-1' AND status_code:succeeded",
    ):
        assert await client.found(q=query) == [wanted]
    assert await client.found(q="client_ref:nobody") == []
    assert await client.found(q="client_ref:job-1 AND status_code:failed") == []


async def test_two_runs_of_one_reference_come_newest_first(client: Client) -> None:
    client.service.faults.add(Fault("submit", "twice"))
    answered = await client.submit(around={"client_ref": "job-1"})

    newest, oldest = await client.found(q="client_ref:job-1")

    assert oldest == answered
    assert await client.found(q="client_ref:job-1", sort_by="created_at:asc") == [oldest, newest]


async def test_runs_are_listed_where_the_filter_by_reference_fails(client: Client) -> None:
    run_id = await client.submit(around={"client_ref": "job-1", "metadata": {"job_id": "job-1"}})
    client.service.faults.add(Fault("search", "unfilterable", times=None))

    status, body = await client.call("GET", "/v1/runs", params={"q": "client_ref:job-1"})
    assert (status, body["code"]) == (422, "VALIDATION_ERROR")
    assert body["message"] == "client_ref is not filterable"

    _, page = await client.call("GET", "/v1/runs", params={"fields": "id,client_ref,metadata", "limit": "100"})
    assert page["items"] == [{"id": run_id, "client_ref": "job-1", "metadata": {"job_id": "job-1"}}]


@pytest.mark.parametrize(("spelling", "requests"), [("eq", 1), ("colon", 2)])
async def test_our_client_finds_a_lost_submit_with_either_filter_syntax(
    client: Client, spelling: str, requests: int
) -> None:
    run_id = await client.submit(around={"client_ref": "job-1"})
    client.service.faults.add(Fault("search", f"spelling:{spelling}", times=None))
    provider = Runflow(http.client(client.service.runflow_url, KEY))

    assert await provider.find("job-1") == run_id
    await provider.aclose()

    assert len([each for each in client.service.log if each.op == "search"]) == requests


async def test_our_client_sees_which_of_many_runs_are_unfinished_with_one_request(client: Client) -> None:
    client.service.hold = True
    held = [await client.submit() for _ in range(3)]
    client.service.advance(held[1], "completed")
    provider = Runflow(http.client(client.service.runflow_url, KEY))

    seen = await provider.observe_many([*held, "unknown"], pages=3)
    await provider.aclose()

    assert seen.keys() == {held[0], held[2]}
    assert {each.state for each in seen.values()} <= {State.QUEUED, State.RUNNING}
    assert len([each for each in client.service.log if each.op == "search"]) == 1


async def test_our_client_reads_as_many_pages_as_it_may(client: Client) -> None:
    client.service.hold = True
    held = [await client.submit() for _ in range(5)]
    provider = Runflow(http.client(client.service.runflow_url, KEY))
    provider.page_size = 2

    assert (await provider.observe_many(held, pages=2)).keys() == set(held[1:])  # the newest first
    assert (await provider.observe_many(held, pages=9)).keys() == set(held)
    await provider.aclose()


async def test_our_client_requests_signed_links_where_they_are_optional(client: Client) -> None:
    client.service.faults.add(Fault("submit", "unsigned"))
    run_id = await client.submit()
    provider = Runflow(http.client(client.service.runflow_url, KEY))

    (unsigned,) = await client.urls(run_id)
    (signed,) = (await provider.observe(run_id)).image_urls
    await provider.aclose()

    assert ((await client.file(unsigned))[0], (await client.file(signed))[0]) == (403, 200)


async def test_requests_of_runflows_own_scripts_are_answered(client: Client) -> None:
    wanted = [await client.submit(around={"client_ref": "job-1"}) for _ in range(2)]
    fields = "id,status_code,client_ref,output,input,cost,duration_ms,created_at"
    params = {"q": "client_ref.EQ:'job-1'", "fields": fields, "sort_by": "created_at:asc", "limit": "100"}

    _, page = await client.call("GET", "/v1/runs", params=params)
    assert [each["id"] for each in page["items"]] == wanted
    assert {frozenset(each) for each in page["items"]} == {frozenset(fields.split(","))}

    _, wallet = await client.call("GET", "/v1/credit-balances")
    assert wallet["items"][0]["balance_usd"] > 0


async def test_a_new_run_may_not_be_listed_yet(client: Client) -> None:
    client.service.faults.add(Fault("submit", "unlisted", n=2))
    run_id = await client.submit(around={"client_ref": "job-1"})

    assert [await client.found(q="client_ref:job-1") for _ in range(3)] == [[], [], [run_id]]


async def test_pages_follow_each_other(client: Client) -> None:
    ids = [await client.submit() for _ in range(3)]

    _, page = await client.call("GET", "/v1/runs", params={"limit": "2", "sort_by": "created_at:asc"})
    assert [each["id"] for each in page["items"]] == ids[:2]
    _, page = await client.call(
        "GET", "/v1/runs", params={"limit": "2", "sort_by": "created_at:asc", "pq": page["next_pq"]}
    )
    assert ([each["id"] for each in page["items"]], page["next_pq"], page["prev_pq"]) == (ids[2:], None, "0")


async def test_runs_are_found_by_when_they_were_made(client: Client) -> None:
    run_id = await client.submit()
    made = (await client.run(run_id))["created_at"]

    assert await client.found(q=f'created_at >= "{made}"') == [run_id]
    assert await client.found(q=f'created_at > "{made}"') == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"q": "metadata.job_id:x"}, "q"),
        ({"q": "status_code:failed OR status_code:queued"}, "q"),
        ({"limit": "501"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"sort_by": "cost:desc"}, "sort_by"),
    ],
)
async def test_a_search_outside_the_documents_is_refused(client: Client, params: Any, field: str) -> None:
    status, body = await client.call("GET", "/v1/runs", params=params)

    assert (status, body["errors"][0]["field"]) == (422, field)


# Pictures


@pytest.mark.parametrize(("ratio", "size"), [("8:1", (512, 64)), ("1:4", (128, 512)), ("16:9", (512, 288))])
async def test_a_picture_has_the_ratio_asked_for(client: Client, ratio: str, size: tuple[int, int]) -> None:
    (url,) = await client.urls(await client.submit(aspect_ratio=ratio, output_format="webp"))

    status, raw = await client.file(url)

    picture = Image.open(io.BytesIO(raw))
    assert (status, picture.format, picture.size) == (200, "WEBP", size)


async def test_an_edit_uses_a_picture_of_the_other_provider(client: Client) -> None:
    runcomfy = RunComfyClient(client.service, client.http)
    (given,) = await runcomfy.urls(await runcomfy.submit(aspect_ratio="3:2"))

    (url,) = await client.urls(await client.submit(EDIT, image_urls=[given]))

    assert Image.open(io.BytesIO((await client.file(url))[1])).size == (512, 342)


async def test_an_edit_fails_at_the_preprocess_stage_when_its_picture_is_unavailable(client: Client) -> None:
    answer = await client.run(await client.submit(EDIT, image_urls=["http://127.0.0.1:1/x.png"]))

    assert (answer["status_code"], answer["output"], answer["cost"]) == ("failed", None, "0")
    assert (answer["failure_code"], answer["failure_stage_code"]) == ("INPUT_VALIDATION_FAILED", "preprocess")


async def test_a_picture_url_without_a_signature_is_refused(client: Client) -> None:
    (url,) = await client.urls(await client.submit())

    for wrong in (url.partition("?")[0], url[:-1], url.replace("v=1", "v=2"), url.replace("/1.png", "/2.png")):
        assert (await client.file(wrong))[0] == 403


async def test_picture_urls_expire_and_are_signed_again_when_the_run_is_read(clock: Clock) -> None:
    async with connected(now=clock) as client:
        run_id = await client.submit()
        (url,) = await client.urls(run_id)
        clock.seconds += TTL + 1

        assert (await client.file(url))[0] == 403
        assert (await client.file((await client.urls(run_id))[0]))[0] == 200


async def test_picture_urls_may_be_expired_at_once_until_the_run_is_read_again(client: Client) -> None:
    client.service.faults.add(Fault("submit", "file:expired"))
    run_id = await client.submit(num_images=2)
    stale = await client.urls(run_id)

    assert [(await client.file(each))[0] for each in stale] == [403, 403]
    assert [(await client.file(each))[0] for each in stale] == [403, 403]
    assert [(await client.file(each))[0] for each in await client.urls(run_id)] == [200, 200]


# Catalogue and money


@pytest.mark.parametrize("model", [T2I, EDIT])
async def test_a_model_is_found_by_its_name_and_by_its_id(client: Client, model: str) -> None:
    _, answer = await client.call("GET", f"/v1/models/{model}")

    assert (f"{answer['owner']}/{answer['slug']}", answer["deleted_at"]) == (model, None)
    assert "$0.08" in answer["pricing_note"]
    assert "4:1" in str(answer["input_schema"]["properties"]["aspect_ratio"])
    assert await client.call("GET", f"/v1/models/{answer['id']}") == (200, answer)
    assert (await client.run(await client.submit()))["model_id"] == (await client.call("GET", f"/v1/models/{T2I}"))[1][
        "id"
    ]


async def test_the_catalogue_is_listed(client: Client) -> None:
    _, page = await client.call("GET", "/v1/models", params={"q": "pro"})

    assert [each["slug"] for each in page["items"]] == ["nano-banana-pro", "nano-banana-pro/edit"]


async def test_a_model_that_is_not_there_is_not_found(client: Client) -> None:
    assert (await client.create("google/none"))[0] == 404
    assert (await client.call("GET", "/v1/models/google/none"))[1]["code"] == "NOT_FOUND"


async def test_only_good_runs_are_paid_for(client: Client) -> None:
    await client.submit(resolution="2K", num_images=2)
    client.service.faults.add(Fault("submit", "fail"), Fault("submit", "canceled", nth=2))
    await client.submit()
    await client.submit()
    await RunComfyClient(client.service, client.http).submit()

    assert (await client.call("GET", "/v1/billing/balance"))[1] == {"balance_cents": 2476, "currency": "USD"}
