"""Tests of the reading of README.md's commands: `python3 -m unittest discover scripts`."""

import socket
import unittest

import readme


class Page(unittest.TestCase):
    def test_blocks_have_a_mark_and_their_commands(self):
        page = "text\n```sh run\none\ntwo \\\n  more\n\n```\n```text\nno shell\n```\n```sh daemon\nthree run\n```\n"
        self.assertEqual(readme.blocks(page), [("run", ["one", "two    more"]), ("daemon", ["three run"])])

    def test_a_shell_block_without_a_mark_is_refused(self):
        for info in ("sh", "sh skip", "shell"):
            with self.assertRaises(readme.Failed):
                readme.blocks(f"```{info}\nls\n```\n")

    def test_every_block_of_the_readme_has_a_mark(self):
        marks = {mark for mark, _ in readme.blocks((readme.ROOT / "README.md").read_text(encoding="utf-8"))}
        self.assertEqual(marks, {"run", "daemon", "check"})

    def test_a_command_for_the_checks_must_stand_there(self):
        readme.walk([("check", ["cargo run -- demo"])], "step_demo() { cargo run -- demo; }")
        with self.assertRaisesRegex(readme.Failed, "does not run"):
            readme.walk([("check", ["cargo run -- demo"])], "")


class Expectations(unittest.TestCase):
    def test_they_are_split_from_the_command(self):
        self.assertEqual(readme.split_expectation("ask it   # -> 0.54"), ("ask it", "0.54"))
        self.assertEqual(readme.split_expectation("do it"), ("do it", None))

    def test_they_match_whole_words_only(self):
        for output in ("0.5", "score 0.5 (neutral)", "it is 0.5.", '{"score":0.5}'):
            self.assertTrue(readme.contains(output, "0.5"), output)
        for output in ("0.54", "10.5", "0.5.1", "v0.5"):
            self.assertFalse(readme.contains(output, "0.5"), output)


class Ports(unittest.TestCase):
    def test_a_taken_port_is_replaced_everywhere_by_the_same_free_one(self):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = str(holder.getsockname()[1])
            walk = readme.Walk("/tmp/elsewhere")
            adapted = walk.adapt(f"run --data-dir /tmp/qfzz/a --listen /ip4/127.0.0.1/tcp/{port} --api 127.0.0.1:{port}")
        self.assertNotIn(port, adapted)
        self.assertTrue(adapted.startswith("run --data-dir /tmp/elsewhere/a "))
        self.assertEqual(adapted.count(walk.ports[port]), 2)


if __name__ == "__main__":
    unittest.main()
