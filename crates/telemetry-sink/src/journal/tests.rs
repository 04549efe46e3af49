//! A journal that journald of systemd 252 wrote, packed, in tests/journal.

use super::*;
use crate::model::{Value, attribute, hex};
use crate::storage::disk::RealDisk;

struct Machine {
    storage: Arc<Storage>,
    directory: tempfile::TempDir,
}

fn machine() -> Machine {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(&directory.path().join("storage"), Arc::new(RealDisk));
    let packed = include_bytes!("../../tests/journal/system.journal.gz");
    let mut plain = Vec::new();
    io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut plain).unwrap();
    let journal = directory.path().join("journal/0123456789abcdef0123456789abcdef");
    std::fs::create_dir_all(&journal).unwrap();
    std::fs::write(journal.join("system.journal"), plain).unwrap();
    Machine { storage, directory }
}

impl Machine {
    fn reader(&self, skip: &[&str]) -> Reader {
        let settings = JournalSection {
            enabled: true,
            directories: vec![self.directory.path().join("journal"), self.directory.path().join("none")],
            skip_units: skip.iter().map(|unit| (*unit).to_owned()).collect(),
        };
        let mut reader = Reader::new(settings, self.directory.path().join("journal.cursor"));
        // The entries are older than what a first start reads.
        reader.place.get_or_insert(Place { cursor: String::new(), realtime: 0 });
        reader
    }

    fn catch_up(&self, reader: &mut Reader) {
        reader.catch_up(&self.storage, &CancellationToken::new());
        assert_eq!(reader.failures, 0);
    }
}

#[test]
fn entries_become_records_once() {
    let machine = machine();
    let mut reader = machine.reader(&[]);
    machine.catch_up(&mut reader);
    let stored = machine.storage.usage().log_records;
    assert!(stored >= 3, "{stored}");
    // Again, and after a restart: nothing is new.
    reader.seen.clear();
    machine.catch_up(&mut reader);
    machine.catch_up(&mut machine.reader(&[]));
    assert_eq!(machine.storage.usage().log_records, stored);
}

#[test]
fn fields_have_their_places() {
    let machine = machine();
    let reader = machine.reader(&[]);
    let journal = Journal::open_dirs(&reader.settings.directories).unwrap();
    let mut query = journal.query();
    query.match_exact("SYSLOG_IDENTIFIER", b"core-api");
    let mut batch = Batch::<LogRecord>::default();
    for entry in query.iter().unwrap() {
        reader.take(&entry.unwrap(), &mut batch);
    }
    let (resource, records) = &batch.groups[0];
    assert_eq!((resource.service.as_str(), records.len()), ("core-api", 1));
    let record = &records[0];
    assert_eq!((record.body.as_str(), record.severity), ("order refused", 17));
    assert_eq!(record.trace_id.map(|id| hex(&id)).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    let text = |name: &str| attribute(&record.attributes, name).map(Value::to_text);
    assert_eq!(
        (text("order_id").as_deref(), text("syslog.facility").as_deref()),
        (Some("o-1"), Some("daemon"))
    );
    assert!(text("process.pid").is_some() && text("_uid").is_none());
    assert!(attribute(&resource.attributes, "host.name").is_some());
}

#[test]
fn while_the_storage_refuses_the_place_stays() {
    let machine = machine();
    let disk = crate::storage::disk::faulty::FaultyDisk::with_allowance(10);
    let full = crate::tests::storage(&machine.directory.path().join("full"), Arc::new(disk.clone()));
    let mut reader = machine.reader(&[]);
    reader.catch_up(&full, &CancellationToken::new());
    assert!(reader.failures == 1 && !reader.file.exists());
    disk.allow(1 << 20);
    full.check_space();
    reader.catch_up(&full, &CancellationToken::new());
    assert!(reader.failures == 0 && full.usage().log_records >= 3);
}

#[test]
fn units_may_be_left_out_and_damage_is_no_panic() {
    let settings = JournalSection::default();
    assert!(settings.skips("quintet-core-api.service") && !settings.skips("sshd.service"));
    let machine = machine();
    let file = machine.directory.path().join("journal/0123456789abcdef0123456789abcdef/system.journal");
    let intact = std::fs::read(&file).unwrap();
    for at in (0..intact.len().min(200_000)).step_by(977) {
        let mut damaged = intact.clone();
        damaged[at] ^= 0xff;
        std::fs::write(&file, &damaged).unwrap();
        let mut reader = machine.reader(&[]);
        reader.place = Some(Place { cursor: String::new(), realtime: 0 });
        reader.catch_up(&machine.storage, &CancellationToken::new());
    }
}
