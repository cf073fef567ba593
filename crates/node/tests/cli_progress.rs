//! Progress: a bar on a terminal, plain lines elsewhere, nothing with -q, and never on standard output.

mod support;

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;
use support::{Fake, Reply, qfzz};

/// Looks at the status within which a bar has been drawn.
const FOR_A_BAR: usize = 3;

/// Looks at the status, four a second, within which a plain line was due: one is every 2 s.
const FOR_A_LINE: usize = 12;

/// How long the next look at the status may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon whose long answers come when its status was asked for `looks` times; in it, 3 of 10 blocks are done.
fn slow(looks: usize) -> Fake {
    let (look, seen) = mpsc::channel();
    let seen = Mutex::new(seen);
    Fake::start(move |request| {
        if request.target == "/v1/status" {
            // Nobody waits any more once the answer is given.
            let _ = look.send(());
            let verifying = json!({ "done": 3, "of": 10 });
            return Reply::ok(
                json!({ "head": { "index": 3 }, "known_height": 10, "verifying": verifying, "signing": true }),
            );
        }
        let seen = seen.lock().expect("no test panics with it");
        for _ in 0..looks {
            seen.recv_timeout(PATIENCE).expect("the status is asked for");
        }
        match request.target.as_str() {
            "/v1/chain/verify" => Reply::ok(json!({ "valid": true, "blocks": 10, "problem": null })),
            "/v1/sync" => Reply::ok(json!([{ "peer": "P", "blocks": 7, "records": 9 }])),
            other => panic!("not asked for here: {other}"),
        }
    })
}

/// A daemon that stores every line.
fn storing() -> Fake {
    Fake::start(|request| {
        let lines = request.body.iter().filter(|byte| **byte == b'\n').count();
        let body = "{\"record_id\":\"S.0.0\"}\n".repeat(lines).into_bytes();
        Reply { status: 200, body, cut: false }
    })
}

/// What a command prints on standard output, and on the terminal that is its standard error.
fn on_terminal(fake: &Fake, arguments: &[&str]) -> (String, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("usable");
    let name = ptsname(&master, Vec::new()).expect("it has a name").into_string().expect("UTF-8");
    let terminal = File::options().read(true).write(true).open(name).expect("opened");
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).expect("sized");
    let mut command = qfzz(&fake.path());
    command.args(arguments).env("TERM", "xterm").stdout(Stdio::piped()).stderr(terminal);
    let mut child = command.spawn().expect("started");
    // The parent's end of the terminal, without which reading would never end.
    drop(command);
    let mut stdout = child.stdout.take().expect("piped");
    let printed = thread::spawn(move || {
        let mut printed = String::new();
        stdout.read_to_string(&mut printed).expect("UTF-8");
        printed
    });
    let mut seen = Vec::new();
    // Where the last writer has gone, Linux says EIO instead of the end.
    let _ = File::from(master).read_to_end(&mut seen);
    assert!(child.wait().expect("ended").success(), "{arguments:?}");
    (printed.join().expect("read"), String::from_utf8(seen).expect("UTF-8"))
}

#[test]
fn on_a_terminal_a_bar_shows_how_much_is_done_of_how_much() {
    for (arguments, bar, totals) in [
        (&["chain", "verify"][..], "3/10 blocks", "checked in "),
        (&["sync"], "3/10 blocks", "7 blocks and 9 records from 1 peer in "),
    ] {
        let (printed, seen) = on_terminal(&slow(FOR_A_BAR), arguments);
        assert!(seen.contains(bar) && seen.contains("[====") && seen.contains('\u{1b}'), "{arguments:?}: {seen:?}");
        assert!(seen.contains(totals), "{arguments:?}: {seen:?}");
        assert!(!printed.contains('\u{1b}') && !printed.contains("3/10"), "{arguments:?}: {printed:?}");
        let (json, seen) = on_terminal(&slow(FOR_A_BAR), &[&["--json"][..], arguments].concat());
        assert!(seen.contains(bar), "{arguments:?}: {seen:?}");
        serde_json::from_str::<serde_json::Value>(&json).expect("one JSON value on standard output");
    }
}

#[test]
fn records_are_stored_beside_a_bar_and_their_ids_stay_clean() {
    let fake = storing();
    let file = fake.path().join("records");
    std::fs::write(&file, "{\"kind\":\"a\"}\n".repeat(10_000)).expect("written");
    let (ids, seen) = on_terminal(&fake, &["record", "--from", file.to_str().expect("UTF-8")]);
    assert_eq!(ids, "S.0.0\n".repeat(10_000));
    assert!(seen.contains("recording") && seen.contains('\u{1b}'), "{seen:?}");
    assert!(seen.contains("10000 records stored in "), "{seen:?}");
}

#[test]
fn elsewhere_plain_lines_come_now_and_then_and_totals_at_the_end() {
    for (arguments, line, totals) in [
        (&["chain", "verify"][..], "verifying: 3 of 10 blocks", "checked in "),
        (&["sync"], "syncing: 3 of 10 blocks", "7 blocks and 9 records from 1 peer in "),
    ] {
        let ran = slow(FOR_A_LINE).run(arguments).expect(0);
        let lines: Vec<&str> = ran.stderr.lines().collect();
        // Twelve looks take 3 s, so one line was due, at most two where the machine is slow.
        assert!((2..=4).contains(&lines.len()) && lines[0] == line, "{arguments:?}: {ran:?}");
        assert!(lines.last().is_some_and(|last| last.starts_with(totals)), "{arguments:?}: {ran:?}");
        assert!(!ran.stderr.contains(['\u{1b}', '\r']), "{arguments:?}: {ran:?}");
        assert!(!ran.stdout.contains("3 of 10"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn with_q_and_for_programs_that_read_json_nothing_is_said() {
    for arguments in [["-q", "chain", "verify"], ["-q", "-q", "sync"], ["--json", "chain", "verify"]] {
        let ran = slow(0).run(&arguments).expect(0);
        assert_eq!(ran.stderr, "", "{arguments:?}");
    }
    let (_, seen) = on_terminal(&slow(0), &["-q", "chain", "verify"]);
    assert_eq!(seen, "");
    let fake = storing();
    let file = fake.path().join("records");
    std::fs::write(&file, "{}\n").expect("written");
    assert_eq!(fake.run(&["-q", "record", "--from", file.to_str().expect("UTF-8")]).expect(0).stderr, "");
}
