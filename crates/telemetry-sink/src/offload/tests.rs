//! The bucket of a real server: copies, data that is there alone, a bucket that is away, damage, and a way back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quintet_s3::{Bucket, Settings};
use quintet_service::SecretFile;
use quintet_testkit::s3::{BUCKET, Server};
use quintet_types::SystemEntropy;
use tokio::task::JoinSet;

use super::restore::{Restored, restore};
use super::*;
use crate::offload::manifest::State;
use crate::parts::tests::{answers, fill, part_files};
use crate::storage::StorageLimits;
use crate::storage::disk::RealDisk;
use crate::storage::tests::{START, StepClock, limits};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

fn bucket(server: &Server) -> Bucket {
    let settings = Settings {
        endpoint: server.endpoint.clone(),
        bucket: BUCKET.to_owned(),
        region: "eu-central-1".to_owned(),
        prefix: "telemetry/".to_owned(),
        path_style: true,
        access_key_id_file: SecretFile::Path(server.key_id_file()),
        secret_access_key_file: SecretFile::Path(server.key_file()),
        ca_file: None,
        timeout_ms: 2000,
    };
    Bucket::open(&settings, "storage.s3").unwrap()
}

fn offloading() -> OffloadSection {
    OffloadSection { backup: true, keep_local_days: Some(2), cache_bytes: 64 << 20 }
}

fn month(directory: &Path) -> StorageLimits {
    StorageLimits { retention: Duration::from_hours(24 * 30), ..limits(directory) }
}

/// A storage with a bucket behind it.
struct Sink {
    storage: Arc<Storage>,
    offload: Offload,
    clock: Arc<StepClock>,
    bucket: Bucket,
    _serving: JoinSet<anyhow::Result<()>>,
}

impl Sink {
    fn open(limits: StorageLimits, bucket: Bucket, settings: OffloadSection, now: i64) -> Self {
        let clock = Arc::new(StepClock(AtomicI64::new(now)));
        let (reader, requests) = Reader::open(&limits.directory, settings.cache_bytes).unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(reader::serve(bucket.clone(), requests, CancellationToken::new()));
        let storage = Storage::open_with(limits, clock.clone(), Arc::new(RealDisk), reader).unwrap();
        let storage = Arc::new(storage);
        storage.replay();
        let offload = Offload::new(Arc::clone(&storage), bucket.clone(), settings, Arc::new(SystemEntropy));
        Self { storage, offload, clock, bucket, _serving: serving }
    }

    fn on(server: &Server, directory: &Path) -> Self {
        Self::open(month(directory), bucket(server), offloading(), START)
    }

    async fn answers(&self) -> String {
        self.watched().await.0
    }

    async fn watched(&self) -> (String, bool) {
        let storage = Arc::clone(&self.storage);
        tokio::task::spawn_blocking(move || {
            let (answers, missed) = missed::watch(|| answers(&storage));
            (answers, missed.is_some())
        })
        .await
        .unwrap()
    }

    fn at(&self, micros: i64) -> &Self {
        self.clock.0.store(micros, Ordering::SeqCst);
        self
    }

    fn parts(&self) -> [usize; 3] {
        self.storage.usage().parts
    }

    fn remote(&self) -> [usize; 3] {
        self.storage.usage().remote_parts
    }
}

/// A sink whose one day of three signals is in the bucket alone.
async fn with_old_parts(server: &Server, directory: &Path) -> (Sink, String) {
    let sink = Sink::on(server, directory);
    fill(&sink.storage, START);
    sink.storage.flush_all().unwrap();
    let before = sink.answers().await;
    sink.at(START + 3 * DAY).offload.pass().await.unwrap();
    assert_eq!(sink.remote(), [1, 1, 1]);
    (sink, before)
}

fn ending(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let files = part_files(directory).into_iter();
    files.filter(|path| path.extension().is_some_and(|known| known == ending)).collect()
}

fn objects(server: &Server) -> Vec<PathBuf> {
    ending(&server.objects().join("telemetry"), "parquet")
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_copied_and_old_ones_are_dropped_here_and_answered_from_the_bucket() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let sink = Sink::on(&server, directory.path());
    fill(&sink.storage, START);
    sink.storage.flush_all().unwrap();
    let before = sink.answers().await;
    sink.offload.pass().await.unwrap();
    assert_eq!(objects(&server).len(), 3, "every part has a copy");
    assert_eq!((sink.remote(), ending(directory.path(), "parquet").len()), ([0; 3], 3));
    assert!(server.has("telemetry/manifest.json"));

    sink.at(START + 3 * DAY).offload.pass().await.unwrap();
    assert_eq!((sink.parts(), sink.remote()), ([1; 3], [1; 3]));
    assert!(ending(directory.path(), "parquet").is_empty(), "the data is in the bucket alone");
    assert_eq!(sink.answers().await, before);
    let copies = sink.storage.copies().unwrap();
    assert_eq!((copies.parts, copies.error), (3, None));
    drop(sink);
    let sink = Sink::open(month(directory.path()), bucket(&server), offloading(), START + 3 * DAY);
    assert_eq!(sink.answers().await, before, "also after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_out_of_reach_costs_what_is_there_and_says_so_and_nothing_else() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (sink, _) = with_old_parts(&server, directory.path()).await;
    let bucket = sink.bucket.clone();
    drop((sink, server));
    let sink = Sink::open(month(directory.path()), bucket, offloading(), START + 3 * DAY);
    let (_, missed) = sink.watched().await;
    assert!(missed, "the answer lacks what is in the bucket");
    assert!(sink.storage.reader().is_away());
    // Taking in and answering what is here go on.
    fill(&sink.storage, START + 3 * DAY);
    sink.storage.flush_all().unwrap();
    let storage = Arc::clone(&sink.storage);
    let recent = move || {
        storage.select_samples(&[], (START + 3 * DAY) / 1000 - 1, i64::MAX, usize::MAX).unwrap().len()
    };
    let (found, missed) = tokio::task::spawn_blocking(|| missed::watch(recent)).await.unwrap();
    assert_eq!((found, missed.is_some()), (6, false));
    assert!(sink.offload.pass().await.is_err());
    assert_eq!(ending(directory.path(), "parquet").len(), 3, "what is not copied stays here");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changed_shows_no_wrong_row_and_is_not_restored() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (sink, before) = with_old_parts(&server, directory.path()).await;
    let whole: std::collections::HashSet<&str> = before.lines().collect();
    for object in objects(&server) {
        let mut bytes = fs::read(&object).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 0x10;
        fs::write(&object, bytes).unwrap();
    }
    let (seen, missed) = sink.watched().await;
    assert!(missed);
    let mut rows = seen.lines().filter(|line| line.contains("Found {") || line.starts_with("{__name__"));
    assert!(rows.all(|row| whole.contains(row)));
    let fresh = tempfile::tempdir().unwrap();
    let all = OffloadSection { keep_local_days: None, ..offloading() };
    let refused = restore(&sink.bucket, fresh.path(), &all, START).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_what_was_sent_is_sent_again_and_nothing_is_dropped_for_it() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let sink = Sink::on(&server, directory.path());
    fill(&sink.storage, START);
    sink.storage.flush_all().unwrap();
    let before = sink.answers().await;
    sink.offload.pass().await.unwrap();
    let object = objects(&server).remove(0);
    let mut bytes = fs::read(&object).unwrap();
    bytes[10] ^= 1;
    fs::write(&object, bytes).unwrap();
    sink.at(START + 3 * DAY).offload.pass().await.unwrap();
    assert_eq!(ending(directory.path(), "parquet").len(), 1, "the one whose copy is wrong stays here");
    assert_eq!(sink.answers().await, before);
    sink.offload.pass().await.unwrap();
    assert!(ending(directory.path(), "parquet").is_empty());
    assert_eq!(sink.answers().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_stub_and_the_end_of_the_data_doubles_and_loses_nothing() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let sink = Sink::on(&server, directory.path());
    fill(&sink.storage, START);
    sink.storage.flush_all().unwrap();
    let before = sink.answers().await;
    let kept: Vec<_> = ending(directory.path(), "parquet")
        .into_iter()
        .map(|path| (fs::read(&path).unwrap(), path))
        .collect();
    sink.at(START + 3 * DAY).offload.pass().await.unwrap();
    drop(sink);
    for (bytes, path) in &kept {
        fs::write(path, bytes).unwrap();
    }
    let sink = Sink::open(month(directory.path()), bucket(&server), offloading(), START + 3 * DAY);
    assert_eq!((sink.parts(), sink.remote()), ([1; 3], [0; 3]));
    assert_eq!(sink.answers().await, before);
    sink.offload.pass().await.unwrap();
    assert_eq!(sink.remote(), [1; 3], "the data is dropped after all");
    assert_eq!(sink.answers().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_short_is_made_again() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let sink = Sink::on(&server, directory.path());
    fill(&sink.storage, START);
    sink.storage.flush_all().unwrap();
    sink.offload.pass().await.unwrap();
    let mut manifest = Manifest::load(directory.path()).unwrap().unwrap();
    manifest.parts[0].state = State::Sending;
    fs::remove_file(server.objects().join("telemetry").join(&manifest.parts[0].key)).unwrap();
    manifest.save(directory.path()).await.unwrap();
    drop(sink);
    let sink = Sink::on(&server, directory.path());
    sink.offload.pass().await.unwrap();
    assert_eq!(objects(&server).len(), 3);
    assert!(Manifest::load(directory.path()).unwrap().unwrap().stored().len() == 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_and_expired_parts_leave_the_bucket_and_a_restore_doubles_nothing() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let sink = Sink::on(&server, directory.path());
    for step in 0..6 {
        fill(&sink.at(START + step * HOUR / 2).storage, START + step * HOUR / 2);
        sink.storage.flush_all().unwrap();
    }
    let before = sink.answers().await;
    sink.offload.pass().await.unwrap();
    assert_eq!(objects(&server).len(), 18);
    // Hours, then the day, with no pass in between: nobody told the bucket of the hours.
    sink.at(START + 5 * HOUR).storage.maintain();
    sink.at(START + 30 * HOUR).storage.maintain();
    let merged: usize = sink.parts().iter().sum();
    assert!(merged < 18);
    let fresh = tempfile::tempdir().unwrap();
    restore(&sink.bucket, fresh.path(), &offloading(), START).await.unwrap();
    let other = Sink::open(month(fresh.path()), sink.bucket.clone(), offloading(), START);
    assert_eq!(other.answers().await, before, "a backup that is behind is whole");
    drop(other);

    sink.offload.pass().await.unwrap();
    assert_eq!(objects(&server).len(), merged, "what was merged is in the bucket once");
    let fresh = tempfile::tempdir().unwrap();
    let restored = restore(&sink.bucket, fresh.path(), &offloading(), START + 30 * HOUR).await.unwrap();
    assert_eq!((restored.whole, restored.pointed_at), (merged, 0));
    let other = Sink::open(month(fresh.path()), sink.bucket.clone(), offloading(), START);
    assert_eq!(other.answers().await, before);

    sink.at(START + 29 * DAY).offload.pass().await.unwrap();
    assert_eq!(sink.answers().await, before);
    sink.at(START + 40 * DAY).storage.maintain();
    assert_eq!(sink.parts(), [0; 3]);
    sink.offload.pass().await.unwrap();
    assert!(objects(&server).is_empty(), "retention reaches the bucket");
    assert!(ending(directory.path(), "remote").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_into_an_empty_directory_answers_as_before_and_takes_the_bucket_over() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (sink, _) = with_old_parts(&server, directory.path()).await;
    fill(&sink.storage, START + 3 * DAY);
    sink.storage.flush_all().unwrap();
    sink.offload.pass().await.unwrap();
    let before = sink.answers().await;

    let fresh = tempfile::tempdir().unwrap();
    let restored = restore(&sink.bucket, fresh.path(), &offloading(), START + 3 * DAY).await.unwrap();
    assert_eq!((restored.whole, restored.pointed_at, restored.known), (3, 3, 0));
    let again = restore(&sink.bucket, fresh.path(), &offloading(), START + 3 * DAY).await.unwrap();
    assert_eq!(again, Restored { known: 6, ..Restored::default() });
    let other = Sink::open(month(fresh.path()), sink.bucket.clone(), offloading(), START + 3 * DAY);
    assert_eq!(other.answers().await, before);

    // Until the restored one sends something, the old one goes on.
    sink.offload.pass().await.unwrap();
    fill(&other.storage, START + 3 * DAY + HOUR);
    other.storage.flush_all().unwrap();
    other.offload.pass().await.unwrap();
    fill(&sink.storage, START + 3 * DAY + HOUR);
    sink.storage.flush_all().unwrap();
    assert!(matches!(sink.offload.pass().await, Err(Error::Foreign)));
    let refused = restore(&sink.bucket, directory.path(), &offloading(), START).await;
    assert!(matches!(refused, Err(Error::Occupied(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_does_not_overwrite_the_copy_of_another() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (sink, _) = with_old_parts(&server, directory.path()).await;
    let empty = tempfile::tempdir().unwrap();
    let other = Sink::open(month(empty.path()), sink.bucket.clone(), offloading(), START);
    fill(&other.storage, START);
    other.storage.flush_all().unwrap();
    assert!(matches!(other.offload.pass().await, Err(Error::Foreign)));
    assert_eq!(objects(&server).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_damaged_here_is_read_from_the_bucket() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let sink = Sink::on(&server, directory.path());
    fill(&sink.storage, START);
    sink.storage.flush_all().unwrap();
    let before = sink.answers().await;
    sink.offload.pass().await.unwrap();
    drop(sink);
    fs::write(&ending(directory.path(), "parquet")[0], b"PAR1").unwrap();
    let sink = Sink::on(&server, directory.path());
    assert_ne!(sink.answers().await, before);
    sink.offload.pass().await.unwrap();
    assert_eq!(sink.remote().iter().sum::<usize>(), 1);
    assert_eq!(sink.answers().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_nearly_full_drops_the_oldest_data_that_is_in_the_bucket() {
    let (server, directory) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let small = StorageLimits { max_bytes: 11_000, ..month(directory.path()) };
    let sink = Sink::open(small, bucket(&server), offloading(), START);
    fill(&sink.storage, START);
    sink.storage.flush_all().unwrap();
    let before = sink.answers().await;
    let usage = sink.storage.usage();
    assert!(usage.local_bytes.iter().sum::<u64>() > 9_000, "{usage:?}");
    sink.offload.pass().await.unwrap();
    assert!(sink.remote().iter().sum::<usize>() > 0);
    sink.storage.maintain();
    assert_eq!(sink.parts(), [1; 3], "nothing is deleted for room that the bucket has");
    assert_eq!(sink.answers().await, before);
}
