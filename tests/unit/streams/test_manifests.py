"""Media seconds of segments, from the playlists and manifests that an application serves."""

from __future__ import annotations

import pytest

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import MANIFEST_CHARS_MAX
from streamgauge.playback import Manifests, Segment

MULTIVARIANT = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English, stereo",URI="audio/en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2500000,RESOLUTION=1280x720,CODECS="avc1,mp4a"
720p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=64000
https://cdn.example/film/radio/index.m3u8?x=1
"""
MEDIA = """#EXTM3U
#EXT-X-TARGETDURATION:6
#EXTINF:6.006,First
0.ts
#EXTINF:5,
sub/one%20more.ts?token=1
#EXT-X-ENDLIST
"""
RANGES = """#EXTM3U
#EXTINF:4.0,
#EXT-X-BYTERANGE:1000@720
all.mp4
#EXTINF:3.5,
#EXT-X-BYTERANGE:500
all.mp4
"""
LOW_LATENCY = """#EXTM3U
#EXT-X-PART:DURATION=0.33334,URI="7.0.mp4"
#EXT-X-PART:DURATION=0.5,URI="7.mp4",BYTERANGE="100@300"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="7.2.mp4"
"""
MPD = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT0H1M3.5S">
 <BaseURL>media/</BaseURL>
 <Period>
  <AdaptationSet contentType="video">
   <SegmentTemplate timescale="1000" duration="6000" startNumber="1"
     media="$RepresentationID$/$Number%05d$.m4s" initialization="$RepresentationID$/init.mp4"/>
   <Representation id="hi" bandwidth="5" height="1080"/>
   <Representation id="lo" bandwidth="1" height="360"/>
  </AdaptationSet>
  <AdaptationSet mimeType="audio/mp4">
   <SegmentTemplate timescale="48000" media="a-$Bandwidth$-$Time$.m4s">
    <SegmentTimeline><S t="1000" d="96000" r="1"/><S d="48000"/><S d="24000" r="-1"/>
    </SegmentTimeline>
   </SegmentTemplate>
   <Representation id="en" bandwidth="128"/>
  </AdaptationSet>
  <AdaptationSet contentType="text">
   <Representation id="subs"><SegmentList timescale="10" duration="25">
     <SegmentURL media="s1.vtt"/><SegmentURL media="s.bin" mediaRange="500-999"/>
   </SegmentList></Representation>
  </AdaptationSet>
 </Period>
</MPD>"""


@pytest.fixture
def manifests() -> Manifests:
    return Manifests()


def test_segments_of_a_playlist_last_as_long_as_it_says(manifests: Manifests) -> None:
    manifests.add_hls("/film/index.m3u8", MULTIVARIANT)
    manifests.add_hls("/film/720p/index.m3u8", MEDIA)
    manifests.add_hls("/film/audio/en.m3u8", MEDIA)
    assert manifests.find("/film/720p/0.ts") == Segment(6_006_000, "720p", "video")
    assert manifests.find("/film/720p/sub/one more.ts") == Segment(5_000_000, "720p", "video")
    assert manifests.find("/film/audio/0.ts") == Segment(6_006_000, "English, stereo", "audio")
    assert manifests.find("/film/720p/2.ts") is None
    assert manifests.find("/film/720p/index.m3u8") is None
    manifests.add_hls("/film/radio/index.m3u8", MEDIA)
    assert manifests.find("/film/radio/0.ts") == Segment(6_006_000, "64k", "video")


def test_ranges_of_one_file_are_segments_by_their_first_byte(manifests: Manifests) -> None:
    manifests.add_hls("/film/index.m3u8", RANGES, quality="hd")
    assert manifests.find("/film/all.mp4", 720) == Segment(4_000_000, "hd")
    assert manifests.find("/film/all.mp4", 1_720) == Segment(3_500_000, "hd")
    assert manifests.find("/film/all.mp4", 0) is None
    assert manifests.find("/film/all.mp4") is None


def test_parts_of_a_low_latency_playlist_are_segments(manifests: Manifests) -> None:
    manifests.add_hls("/live.m3u8", LOW_LATENCY)
    assert manifests.find("/7.0.mp4") == Segment(333_340)
    assert manifests.find("/7.mp4", 300) == Segment(500_000)
    assert manifests.find("/7.2.mp4") is None


def test_numbers_of_a_template_end_with_the_presentation(manifests: Manifests) -> None:
    manifests.add_dash("/film/film.mpd", MPD)
    assert manifests.find("/film/media/hi/00001.m4s") == Segment(6_000_000, "1080p", "video")
    assert manifests.find("/film/media/lo/00010.m4s") == Segment(6_000_000, "360p", "video")
    # 63.5 s are ten times 6 s and a rest.
    assert manifests.find("/film/media/lo/00011.m4s") == Segment(3_500_000, "360p", "video")
    for name in ("hi/00012.m4s", "hi/00000.m4s", "hi/init.mp4", "mid/00001.m4s", "hi/00001.m4sx"):
        assert manifests.find(f"/film/media/{name}") is None


def test_a_time_line_says_how_long_each_segment_is(manifests: Manifests) -> None:
    manifests.add_dash("/film/film.mpd", MPD.encode())
    expected = {1_000: 2_000_000, 97_000: 2_000_000, 193_000: 1_000_000, 241_000: 500_000}
    for time, duration_us in expected.items():
        found = manifests.find(f"/film/media/a-128-{time}.m4s")
        assert found == Segment(duration_us, "en", "audio")
    assert manifests.find("/film/media/a-128-1001.m4s") is None
    assert manifests.find("/film/media/a-128-99999999.m4s") is None
    # Half a second at a time until 63.5 s, of which the last piece is cut there.
    last = 241_000 + 24_000 * ((63.5 * 48_000 - 241_000) // 24_000)
    found = manifests.find(f"/film/media/a-128-{last:.0f}.m4s")
    assert found is not None
    assert 0 < found.duration_us < 500_000


def test_a_list_of_segments_is_read_with_its_ranges(manifests: Manifests) -> None:
    manifests.add_dash("/film/film.mpd", MPD)
    assert manifests.find("/film/media/s1.vtt") == Segment(2_500_000, "subs", "text")
    assert manifests.find("/film/media/s.bin", 500) == Segment(2_500_000, "subs", "text")


def test_a_live_manifest_without_an_end_goes_on(manifests: Manifests) -> None:
    manifests.add_dash(
        "/live.mpd",
        '<MPD><Period><AdaptationSet><SegmentTemplate media="n$$-$Number$" duration="2"/>'
        '<Representation id="x"/></AdaptationSet></Period></MPD>',
    )
    assert manifests.find("/n$-123456789") == Segment(2_000_000, "x")
    assert manifests.find("/n$-99999999999999999999999") is None


@pytest.mark.parametrize(
    ("method", "text", "rule"),
    [
        ("add_hls", "<html>", "#EXTM3U"),
        ("add_hls", "#EXTM3U\n#EXTINF:-1,\na.ts", "durations"),
        ("add_hls", "#EXTM3U\n#EXTINF:1e999,\na.ts", "durations"),
        ("add_hls", "#EXTM3U\n#EXT-X-BYTERANGE:x\na.ts", "ranges"),
        ("add_hls", "#EXTM3U\n" + "#" * MANIFEST_CHARS_MAX, "at most"),
        ("add_hls", "#EXTM3U\n#EXTINF:1,\na.ts\n#EXTINF:1,\nhttp://[x/a.ts", "addresses"),
        ("add_dash", "<MPD", "well-formed"),
        ("add_dash", "<MPD><BaseURL>http://[x/</BaseURL><Period/></MPD>", "addresses"),
        ("add_dash", "<html/>", "MPD"),
        ("add_dash", '<!DOCTYPE MPD [<!ENTITY a "b">]><MPD>&a;</MPD>', "not be there"),
        ("add_dash", '<!DOCTYPE MPD SYSTEM "file:///etc/passwd"><MPD/>', "not be there"),
    ],
)
def test_what_is_no_manifest_is_refused_and_changes_nothing(
    manifests: Manifests, method: str, text: str, rule: str
) -> None:
    with pytest.raises(InvalidInputError, match=rule):
        getattr(manifests, method)("/a/b", text)
    assert manifests.find("/a/a.ts") is None


def test_what_was_given_longest_ago_is_forgotten(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.streams.playback.manifests.MANIFEST_SEGMENTS_MAX", 2)
    for title in ("a", "b", "a"):
        manifests.add_hls(f"/{title}/i.m3u8", "#EXTM3U\n#EXTINF:1,\n0.ts")
    manifests.add_hls("/c/i.m3u8", "#EXTM3U\n#EXTINF:1,\n0.ts")
    found = [manifests.find(f"/{title}/0.ts") is not None for title in "abc"]
    assert found == [True, False, True]
