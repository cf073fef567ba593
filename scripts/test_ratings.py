"""Tests of the ratings' conversion, expected answers and reader: `python3 -m unittest discover scripts`."""

import decimal
import pathlib
import tempfile
import unittest

import ratings_daemons
import ratings_expected

# Rater 6 speaks at station 1, 12 at 2, 20 at 0 and 3 at 3. In order of time the last line comes first.
FILE = "6,7,4,20.5\n12,7,-1,30\n20,7,2,40\n20,8,-3,40\n3,8,10,10\n"


def ratings_of(text):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ratings.csv"
        path.write_text(text, encoding="ascii")
        return ratings_expected.read_ratings(path)


class Expected(unittest.TestCase):
    def test_records_are_split_by_rater_in_order_of_time(self):
        shares = ratings_expected.records(ratings_of("5,1,1,9\n10,2,-1,3\n1,3,1,5\n"))
        self.assertEqual(
            shares,
            [
                [
                    '{"kind": "content_reported", "content_id": "2", "creator_id": "2"}',
                    '{"kind": "content_verified", "content_id": "1", "creator_id": "1"}',
                ],
                ['{"kind": "content_verified", "content_id": "3", "creator_id": "3"}'],
                [],
                [],
                [],
            ],
        )

    def test_scores_opinions_and_mean_round_down(self):
        lines = ratings_expected.answers(ratings_of(FILE))
        self.assertEqual(len(lines), 10)
        # 2 of 3 verified: 0.1 + 0.8 * 2 / 3; the opinions 0.9, 0.9 and 0.1 have the mean 0.6333...
        self.assertEqual(lines[0], "0 7 2 1 633333 633333 633333 633333 900000/1 900000/1 100000/1 - -")
        self.assertEqual(lines[9], "4 8 1 1 500000 500000 500000 500000 100000/1 - - 900000/1 -")

    def test_a_turned_rating_differs_in_its_subject_at_all_stations(self):
        ratings = ratings_of(FILE)
        answers = ratings_expected.answers(ratings)
        self.assertEqual(ratings_expected.differences(answers, answers), [])
        turned = ratings_expected.answers(ratings_expected.flip(ratings, 0))
        differences = ratings_expected.differences(answers, turned)
        self.assertEqual(len(differences), 10)
        self.assertEqual({line.split()[2] for line in differences}, {"8"})
        ratings_expected.prove_sensitive(ratings, answers)
        with self.assertRaises(SystemExit):
            ratings_expected.prove_sensitive(ratings, turned)

    def test_a_missing_or_doubled_answer_differs(self):
        answers = ratings_expected.answers(ratings_of(FILE))
        self.assertNotEqual(ratings_expected.differences(answers, answers[:-1]), [])
        self.assertNotEqual(ratings_expected.differences(answers, answers + answers[-1:]), [])

    def test_a_line_that_is_no_rating_is_named(self):
        for line in ("6,7,0,20", "6,7,4"):
            with self.assertRaisesRegex(SystemExit, "line 2"):
                ratings_of("1,2,3,4\n" + line + "\n")


class Reader(unittest.TestCase):
    def test_an_answer_read_over_the_api_has_the_format_of_the_expected_one(self):
        asked = []

        def get(path):
            asked.append(path)
            if path.startswith("/v1/trust/global"):
                voices = [("b", "0.9", 1), ("a", "0.9", 1), ("c", "0.1", 1), ("d", "0.5", 0)]
                stations = [{"station_id": i, "score": decimal.Decimal(x), "evidence": n} for i, x, n in voices]
                return {"score": decimal.Decimal("0.633333"), "stations": stations}
            score = decimal.Decimal("0.633333")
            return {"score": score, "confirmed_score": score, "verifications": 2, "reports": 1}

        line = ratings_daemons.answer(get, "7", ["a", "b", "c", "d", "e"])
        self.assertEqual("0 " + line, ratings_expected.answers(ratings_of(FILE))[0])
        self.assertEqual(
            asked,
            [
                "/v1/trust/content?content_id=7&creator_id=7",
                "/v1/trust/creators/7",
                "/v1/trust/global?kind=content&id=7&creator_id=7&policy=mean",
            ],
        )

    def test_scores_are_exact(self):
        self.assertEqual(ratings_daemons.millionths(decimal.Decimal("0.54")), 540_000)
        self.assertEqual(ratings_daemons.millionths(1), 1_000_000)
        with self.assertRaises(ratings_daemons.Failed):
            ratings_daemons.millionths(decimal.Decimal("0.6333333"))


if __name__ == "__main__":
    unittest.main()
