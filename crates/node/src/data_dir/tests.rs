use super::*;

fn dir() -> (tempfile::TempDir, DataDir) {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = DataDir::new(temporary.path().join("station"));
    dir.create().expect("created");
    (temporary, dir)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn a_directory_belongs_to_one_process_at_a_time() {
    let (_temporary, dir) = dir();
    let locked = dir.clone().lock().expect("free");
    match dir.clone().lock() {
        Err(DataDirError::InUse { pid, path }) => {
            assert_eq!((pid, path.as_path()), (Some(std::process::id()), dir.path()));
        }
        other => panic!("locked twice: {other:?}"),
    }
    assert_eq!(dir.user(), Some(std::process::id()));
    drop(locked);
    assert_eq!(dir.user(), None);
    dir.lock().expect("free again");
}

#[test]
fn secrets_are_private_and_exposure_is_noticed() {
    let (_temporary, dir) = dir();
    assert_eq!(mode(dir.path()), 0o700);
    let token = dir.token().expect("made");
    assert_eq!(mode(&dir.token_file()), PRIVATE);
    assert!(dir.exposed().is_empty());
    fs::set_permissions(dir.token_file(), fs::Permissions::from_mode(0o644)).expect("changed");
    assert_eq!(dir.exposed(), [dir.token_file()]);
    write_private(&dir.token_file(), token.as_str().as_bytes()).expect("written");
    assert!(dir.exposed().is_empty(), "replacing it makes it private again");
}

#[test]
fn the_token_is_made_once_and_compared_whole() {
    let (_temporary, dir) = dir();
    let token = dir.token().expect("made");
    let again = dir.token().expect("read");
    assert!(token.matches(again.as_str().as_bytes()));
    assert!(
        !token.matches(&again.as_str().as_bytes()[..63])
            && !token.matches(b"")
            && !token.matches("0".repeat(64).as_bytes())
    );
    assert_eq!(format!("{token:?}"), "ApiToken(..)");
    fs::write(dir.token_file(), "short").expect("written");
    assert!(matches!(dir.token(), Err(DataDirError::Damaged { .. })));
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let (_temporary, dir) = dir();
    dir.write_genesis(b"old").expect("written");
    dir.write_genesis(b"new").expect("written");
    assert_eq!(dir.read_genesis().expect("read"), Some(b"new".to_vec()));
    let names: Vec<_> =
        fs::read_dir(dir.path()).expect("listed").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(names, ["genesis"]);
    assert_eq!(dir.occupied_by(), ["genesis"]);
}

#[test]
fn the_api_address_is_told_and_forgotten() {
    let (_temporary, dir) = dir();
    assert_eq!(dir.read_api_address().expect("read"), None);
    dir.write_api_address(([127, 0, 0, 1], 4810).into()).expect("written");
    assert_eq!(dir.read_api_address().expect("read").as_deref(), Some("127.0.0.1:4810"));
    dir.remove_api_address().expect("removed");
    dir.remove_api_address().expect("removed already");
    assert_eq!(dir.read_api_address().expect("read"), None);
}
