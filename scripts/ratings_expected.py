#!/usr/bin/env python3
"""What five stations must answer about a file of ratings, computed from the file alone.

Input: gzip or plain text, one rating a line: source,target,rating,time (no header; the rating is never 0).
A rated member is one content whose creator has the same id. A rating above 0 is one `content_verified`, one below 0 one
`content_reported`. Rater r speaks at station r modulo 5. All numbers are integers in millionths and divisions round down:

    score of a content      100,000 + 800,000 * verified / (verified + reported), over the records of every station
    opinion of a station    the same over that station's records; none where it has no record about the subject
    mean                    sum of the opinions / number of stations that have one
    score of a creator      that of its only content

Nothing here knows the program under test: no crate of it, and no word of its API.

    ratings_expected.py records PATH DIR        writes DIR/share-0.jsonl to DIR/share-4.jsonl
    ratings_expected.py answers PATH [--flip N] prints the answers, one line for each station and subject
    ratings_expected.py compare PATH FILE       compares FILE with them; exit 1 where they differ
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import sys
from collections import defaultdict
from typing import NamedTuple

STATIONS = 5

# SHA-256 of the answers to the 35,592 published ratings: another file, or one changed line of it, has another digest.
PUBLISHED = "c7f5d32d9c5cb0633edac56a1efa876d8f0d34abd8d654d2fbd5649b2390fc86"


class Rating(NamedTuple):
    """One line of the file."""

    rater: int
    rated: int
    positive: bool
    time: float


def read_ratings(path):
    """The ratings of the file at `path` in order of time; lines of equal time keep their order."""
    raw = pathlib.Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    ratings = []
    for number, line in enumerate(raw.decode("ascii").splitlines(), start=1):
        fields = line.split(",")
        if len(fields) != 4 or int(fields[2]) == 0:
            raise SystemExit(f"{path}: line {number} is not source,target,rating,time with a rating other than 0")
        ratings.append(Rating(int(fields[0]), int(fields[1]), int(fields[2]) > 0, float(fields[3])))
    return sorted(ratings, key=lambda rating: rating.time)


def flip(ratings, index):
    """The same ratings with the sign of the one at `index` turned."""
    turned = ratings[index]._replace(positive=not ratings[index].positive)
    return ratings[:index] + [turned] + ratings[index + 1 :]


def records(ratings):
    """For each station its records as JSON lines, in order of time."""
    shares = [[] for _ in range(STATIONS)]
    for rating in ratings:
        kind = "content_verified" if rating.positive else "content_reported"
        member = str(rating.rated)
        record = {"kind": kind, "content_id": member, "creator_id": member}
        shares[rating.rater % STATIONS].append(json.dumps(record))
    return shares


def content_score(verified, reported):
    """The score of a content in millionths."""
    return 100_000 + 800_000 * verified // (verified + reported)


def answers(ratings):
    """The answers of all stations: one line for each station and subject, by station, then by subject.

    Fields: station subject verified reported score confirmed creator mean, then for each of the five stations its
    opinion as score/evidence, or `-` where it has none.
    """
    counts = defaultdict(lambda: [[0, 0] for _ in range(STATIONS)])
    for rating in ratings:
        counts[rating.rated][rating.rater % STATIONS][0 if rating.positive else 1] += 1
    about = []
    for subject, by_station in sorted(counts.items()):
        verified = sum(pair[0] for pair in by_station)
        reported = sum(pair[1] for pair in by_station)
        score = content_score(verified, reported)
        opinions = [(content_score(v, r), v + r) if v + r else None for v, r in by_station]
        voices = [opinion[0] for opinion in opinions if opinion]
        mean = sum(voices) // len(voices)
        shown = " ".join(f"{opinion[0]}/{opinion[1]}" if opinion else "-" for opinion in opinions)
        about.append(f"{subject} {verified} {reported} {score} {score} {score} {mean} {shown}")
    return [f"{station} {line}" for station in range(STATIONS) for line in about]


def differences(expected, found):
    """The lines of two lists of answers that stand in one of them only, in order."""
    missing = set(expected) - set(found)
    wrong = set(found) - set(expected)
    lines = [f"- {line}" for line in expected if line in missing] + [f"+ {line}" for line in found if line in wrong]
    if not lines and expected != found:
        lines.append("! the same lines in another order or number")
    return lines


def digest(lines):
    """SHA-256 in hex over the lines, each with its line feed."""
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


def prove_sensitive(ratings, found):
    """Fails unless turning one rating, at the start, in the middle or at the end, changes exactly that subject's lines."""
    for index in (0, len(ratings) // 2, len(ratings) - 1):
        subject = str(ratings[index].rated)
        lines = differences(answers(flip(ratings, index)), found)
        if len(lines) != 2 * STATIONS or any(line.split()[2] != subject for line in lines):
            raise SystemExit(f"self-test: rating {index} turned, yet the comparison shows {len(lines)} lines")


def compare(path, found_path, any_file):
    """Compares the answers found with those expected, and prints the verdict; returns the exit code."""
    ratings = read_ratings(path)
    expected = answers(ratings)
    found = pathlib.Path(found_path).read_text(encoding="ascii").splitlines()
    wrong = differences(expected, found)
    if wrong:
        print(f"{len(wrong)} lines differ (- expected, + answered):", *wrong[:20], sep="\n", file=sys.stderr)
        return 1
    prove_sensitive(ratings, found)
    subjects = len(expected) // STATIONS
    print(f"ratings {len(ratings)}, subjects {subjects} x {STATIONS} stations = {len(found)} compared, all equal")
    print("self-test: three times one rating turned, three times noticed")
    print(f"digest {digest(found)}")
    if not any_file and digest(found) != PUBLISHED:
        print(f"but this file is not the published one, whose digest is {PUBLISHED} (--any-file allows it)", file=sys.stderr)
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    records_of = commands.add_parser("records")
    records_of.add_argument("path")
    records_of.add_argument("dir")
    answers_of = commands.add_parser("answers")
    answers_of.add_argument("path")
    answers_of.add_argument("--flip", type=int, help="turn the sign of this rating, counted from 0 in order of time")
    compared = commands.add_parser("compare")
    compared.add_argument("path")
    compared.add_argument("found")
    compared.add_argument("--any-file", action="store_true", help="accept ratings other than the published ones")
    arguments = parser.parse_args()

    if arguments.command == "compare":
        return compare(arguments.path, arguments.found, arguments.any_file)
    ratings = read_ratings(arguments.path)
    if arguments.command == "records":
        for station, share in enumerate(records(ratings)):
            target = pathlib.Path(arguments.dir) / f"share-{station}.jsonl"
            target.write_text("".join(line + "\n" for line in share), encoding="ascii")
    else:
        if arguments.flip is not None:
            ratings = flip(ratings, arguments.flip)
        print(*answers(ratings), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
