//! Lines, and on Unix real programs of `/bin/sh`: what they say, what they start, and how they end.

use super::*;

#[test]
fn lines_end_where_they_end_and_none_fills_the_memory() {
    let mut text = &b"a\n\nb"[..];
    let mut next = || read_line(&mut text).unwrap();
    assert_eq!(
        (next(), next(), next(), next()),
        (Some(b"a".into()), Some(vec![]), Some(b"b".into()), None)
    );
    let long = vec![b'x'; LINE_BYTES + 1];
    assert!(read_line(&mut &long[..]).is_err());
}

#[cfg(unix)]
mod programs {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn start(script: &str) -> Process {
        let mut start = Command::new("/bin/sh");
        start.args(["-c", script]);
        Process::start(start, "test").unwrap()
    }

    #[track_caller]
    fn line(process: &mut Process) -> String {
        match process.reply(Instant::now() + SOON) {
            Reply::Line(line) => String::from_utf8(line).unwrap(),
            _ => panic!("no line; it said {:?}", process.last_words()),
        }
    }

    /// Whether a process is there and no zombie, which is all that is left where nobody asks for its end.
    fn is_running(id: &str) -> bool {
        let found = Command::new("ps")
            .args(["-o", "stat=", "-p", id])
            .output()
            .unwrap();
        let state = String::from_utf8(found.stdout).unwrap();
        !state.trim().is_empty() && !state.trim_start().starts_with('Z')
    }

    #[track_caller]
    fn assert_goes(id: &str) {
        let asked = Instant::now();
        while is_running(id) {
            assert!(asked.elapsed() < SOON, "process {id} lives on");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// One that says its child's number first.
    fn parent(then: &str) -> (Process, String) {
        let mut process = start(&format!("sleep 300 & echo $!; {then}"));
        let child = line(&mut process);
        assert!(is_running(&child), "{child}");
        (process, child)
    }

    #[test]
    fn a_mebibyte_of_standard_error_without_a_line_disturbs_nobody() {
        let flood = "head -c 1048576 /dev/zero | tr '\\0' x >&2; printf ' 99 %%\\r100 %%' >&2";
        let mut process = start(&format!("{flood}; while read -r l; do echo \"$l\"; done; exit 3"));
        process.send(b"a\nb\n".to_vec());
        assert_eq!((line(&mut process), line(&mut process)), ("a".into(), "b".into()));
        process.requests = None;
        assert!(matches!(process.reply(Instant::now() + SOON), Reply::Ended));
        assert_eq!(process.ending(), "ended (exit status: 3)");
        process.kill();
        assert_eq!(process.last_words(), "100 %");
    }

    #[test]
    fn what_a_program_started_ends_with_it() {
        // The child holds the output open: the program's own end is what counts, and its last line is read.
        let (mut process, child) = parent("read -r l; echo last; exit 3");
        process.send(b"go\n".to_vec());
        assert_eq!(line(&mut process), "last");
        let asked = Instant::now();
        assert!(matches!(process.reply(asked + SOON), Reply::Ended) && asked.elapsed() < SOON / 2);
        assert_eq!(process.ending(), "ended (exit status: 3)");
        assert_goes(&child);
    }

    #[test]
    fn what_a_program_started_ends_with_a_time_out_and_with_the_run() {
        let (mut process, child) = parent("trap '' TERM; sleep 300");
        assert!(matches!(process.reply(Instant::now() + LOOK), Reply::Late));
        process.kill();
        assert_goes(&child);
        let (process, child) = parent("exec >&- 2>&-; wait");
        drop(process);
        assert_goes(&child);
        // It may end by itself, as its input does.
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("ended");
        let (process, child) = parent(&format!("cat; echo > '{}'", mark.display()));
        drop(process);
        assert!(mark.exists());
        assert_goes(&child);
    }

    #[test]
    fn one_that_reads_no_more_is_seen() {
        let mut process = start("exec <&-; sleep 300");
        thread::sleep(LOOK);
        process.send(vec![b'x'; 1 << 20]);
        assert!(matches!(process.reply(Instant::now() + 2 * LOOK), Reply::Late));
        assert!(process.is_deaf() && !process.has_ended());
    }
}
