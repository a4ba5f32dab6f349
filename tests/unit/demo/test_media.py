from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamgauge.core.errors import UnavailableError
from streamgauge.demo.media import LADDER, encode, master_playlist


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


def test_the_ladder_the_sound_and_the_film_are_encoded(folder: Path) -> None:
    media = asyncio.run(encode(folder, seconds=4))
    assert list(media.sizes) == ["240p", "480p", "720p", "audio", "film"]
    assert media.sizes["240p"] < media.sizes["480p"] < media.sizes["720p"]
    for name in ("240p", "480p", "720p", "audio"):
        playlist = (folder / name / "index.m3u8").read_text()
        assert playlist.count("#EXTINF") >= 2
        assert "#EXT-X-ENDLIST" in playlist
    film = (folder / "film.mp4").read_bytes()
    assert film.index(b"moov") < film.index(b"mdat"), "a film must start before it is whole"


def test_a_second_run_encodes_nothing(folder: Path) -> None:
    first = asyncio.run(encode(folder, seconds=4))
    again = asyncio.run(encode(folder, seconds=4, ffmpeg=Path("/nowhere/ffmpeg")))
    assert again == first


def test_a_failing_ffmpeg_is_quoted(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho no such codec >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(UnavailableError, match="ended with 3: no such codec"):
        asyncio.run(encode(tmp_path / "out", seconds=4, ffmpeg=program))


def test_the_master_playlist_names_every_rendition() -> None:
    playlist = master_playlist()
    for rendition in LADDER:
        assert f"{rendition.name}/index.m3u8" in playlist
        assert f"RESOLUTION={rendition.width}x{rendition.height}" in playlist
    assert 'URI="audio/index.m3u8"' in playlist
