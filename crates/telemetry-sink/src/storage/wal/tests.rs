//! Truncation and bit flips at every offset, and reopening after a kill.

use proptest::prelude::*;

use super::super::disk::RealDisk;
use super::super::disk::faulty::FaultyDisk;
use super::*;

const SEGMENT: u64 = 1 << 20;
const TINY: u64 = 1;

fn open(directory: &Path, disk: Arc<dyn Disk>, segment_bytes: u64) -> Wal {
    Wal::open(Signal::Logs, directory.to_owned(), disk, segment_bytes).unwrap()
}

fn append(wal: &mut Wal, frames: &[Vec<u8>]) {
    for frame in frames {
        wal.begin(1).unwrap();
        wal.write(frame).unwrap();
    }
}

fn recover(wal: &mut Wal) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let newest = wal.newest_number();
    for info in wal.segments() {
        let outcome = replay_segment(&info, Signal::Logs, newest == Some(info.number), |body| {
            frames.push(body.to_vec());
            Ok(())
        });
        wal.recovered(info.number, outcome.unwrap());
    }
    frames
}

fn reopened(directory: &Path) -> Vec<Vec<u8>> {
    recover(&mut open(directory, Arc::new(RealDisk), SEGMENT))
}

/// The only segment's bytes and where each frame ends.
fn written(frames: &[Vec<u8>]) -> (tempfile::TempDir, PathBuf, Vec<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let mut wal = open(directory.path(), Arc::new(RealDisk), SEGMENT);
    let mut ends = Vec::new();
    for frame in frames {
        append(&mut wal, std::slice::from_ref(frame));
        ends.push(wal.total_bytes());
    }
    let path = directory.path().join(format!("{:016}.wal", 1));
    (directory, path, ends)
}

fn some_frames() -> Vec<Vec<u8>> {
    vec![b"first".to_vec(), vec![7; 600], b"x".to_vec(), (0..400u32).flat_map(u32::to_le_bytes).collect()]
}

fn intact_before(frames: &[Vec<u8>], ends: &[u64], offset: u64) -> Vec<Vec<u8>> {
    frames.iter().zip(ends).take_while(|(_, end)| **end <= offset).map(|(frame, _)| frame.clone()).collect()
}

#[test]
fn truncation_at_every_offset_keeps_every_whole_frame_before_it() {
    let frames = some_frames();
    let (directory, path, ends) = written(&frames);
    let whole = fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let expected = intact_before(&frames, &ends, u64::try_from(length).unwrap());
        assert_eq!(reopened(directory.path()), expected, "cut at {length}");
        assert_eq!(
            reopened(directory.path()),
            expected,
            "a repaired log cut at {length} is read the same again"
        );
    }
}

#[test]
fn a_flipped_bit_at_every_offset_keeps_every_frame_before_it() {
    let frames = some_frames();
    let (directory, path, ends) = written(&frames);
    let whole = fs::read(&path).unwrap();
    for offset in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[offset] ^= 1 << (offset % 8);
        fs::write(&path, &damaged).unwrap();
        let at = u64::try_from(offset).unwrap();
        let expected = if at < u64::try_from(segment::HEADER_LENGTH).unwrap() {
            Vec::new()
        } else {
            intact_before(&frames, &ends, at)
        };
        assert_eq!(reopened(directory.path()), expected, "flip at {offset}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_frames_survive_any_cut(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..700), 1..12),
        cut in 0.0..1.0f64,
    ) {
        let (directory, path, ends) = written(&frames);
        prop_assert_eq!(reopened(directory.path()), frames.clone());
        let length = fs::metadata(&path).unwrap().len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a random offset")]
        let cut = (length as f64 * cut) as u64;
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        prop_assert_eq!(reopened(directory.path()), intact_before(&frames, &ends, cut));
    }
}

#[test]
fn an_older_damaged_segment_is_quarantined_and_the_newer_ones_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut wal = open(directory.path(), Arc::new(RealDisk), TINY);
    append(&mut wal, &[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    drop(wal);
    let first = directory.path().join(format!("{:016}.wal", 1));
    let mut bytes = fs::read(&first).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&first, bytes).unwrap();
    let second = directory.path().join(format!("{:016}.wal", 2));
    fs::write(&second, b"nothing like a segment").unwrap();
    assert_eq!(reopened(directory.path()), [b"three".to_vec()]);
    let shelf: Vec<_> = fs::read_dir(directory.path().join("quarantine")).unwrap().collect();
    assert_eq!(shelf.len(), 2);
    assert_eq!(reopened(directory.path()), [b"three".to_vec()]);
}

#[test]
fn a_write_that_meets_a_full_disk_leaves_no_torn_frame_and_the_next_one_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::with_allowance(100);
    let mut wal = open(directory.path(), Arc::new(disk.clone()), SEGMENT);
    append(&mut wal, &[b"kept".to_vec()]);
    wal.begin(1).unwrap();
    let refused = wal.write(&[1; 200]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert!(wal.begin(1).is_err(), "no new segment fits either");
    disk.allow(10_000);
    append(&mut wal, &[b"after".to_vec()]);
    drop(wal);
    assert_eq!(reopened(directory.path()), [b"kept".to_vec(), b"after".to_vec()]);
    assert!(!directory.path().join("quarantine").exists(), "the torn frame was cut at once");
}

#[test]
fn numbers_go_on_after_a_restart_and_what_is_elsewhere_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    append(&mut open(directory.path(), Arc::new(RealDisk), TINY), &[b"a".to_vec(), b"b".to_vec()]);
    let mut wal = open(directory.path(), Arc::new(RealDisk), TINY);
    append(&mut wal, &[b"c".to_vec()]);
    wal.forget_through(1).unwrap();
    drop(wal);
    assert_eq!(reopened(directory.path()), [b"b".to_vec(), b"c".to_vec()]);
}

#[test]
fn a_rotated_log_goes_on_in_a_new_segment_and_numbers_never_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut wal = open(directory.path(), Arc::new(RealDisk), SEGMENT);
    assert_eq!(wal.rotate().unwrap(), None, "an empty log has nothing to end");
    append(&mut wal, &[b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(wal.rotate().unwrap(), Some(1));
    append(&mut wal, &[b"c".to_vec()]);
    wal.forget_through(1).unwrap();
    drop(wal);
    assert_eq!(reopened(directory.path()), [b"c".to_vec()]);
    let mut wal = open(directory.path(), Arc::new(RealDisk), SEGMENT);
    wal.forget_through(7).unwrap();
    assert_eq!(wal.begin(1).unwrap(), 8, "a number that a part names is not used again");
}
