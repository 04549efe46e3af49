//! Senders over real sockets.

use quintet_types::SystemClock;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::model::attribute;
use crate::storage::disk::RealDisk;

struct Running {
    storage: Arc<Storage>,
    intake: Intake,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    _directory: tempfile::TempDir,
}

fn running(disk: Arc<dyn crate::storage::disk::Disk>) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(directory.path(), disk);
    let (intake, queue) = Intake::new(SystemClock::shared());
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(store(queue, Arc::clone(&storage), shutdown.clone()));
    Running { storage, intake, shutdown, tasks, _directory: directory }
}

impl Running {
    /// Waits until this many records are stored.
    async fn stored(&self, count: usize) {
        let wait = async {
            while self.storage.usage().log_records < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the messages are not stored");
    }

    fn serve(&mut self, tls: Option<Arc<Tls>>) -> SocketAddr {
        let listener = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))).bind().unwrap();
        let Address::Tcp(address) = listener.local_address().unwrap() else { panic!("not TCP") };
        let (intake, shutdown) = (self.intake.clone(), self.shutdown.clone());
        self.tasks.spawn(async move { accept(listener, tls, intake, shutdown).await.unwrap() });
        address
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

#[tokio::test]
async fn connections_and_datagrams_are_stored() {
    let mut running = running(Arc::new(RealDisk));
    let address = running.serve(None);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"<11>1 - web-1 nginx 9 - - lines\n38 <14>1 - web-1 nginx - - - counted octets")
        .await
        .unwrap();
    let socket = datagrams(None, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let target = socket.local_addr().unwrap();
    let (intake, shutdown) = (running.intake.clone(), running.shutdown.clone());
    running.tasks.spawn(async move { receive(socket, intake, shutdown).await.unwrap() });
    let sender = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    sender.send_to(b"<13>Jan  1 00:00:00 box cron: over UDP", target).await.unwrap();
    drop(stream);
    running.stored(3).await;
    running.end().await;
}

#[tokio::test]
async fn a_sender_that_breaks_its_framing_is_cut_off() {
    let mut running = running(Arc::new(RealDisk));
    let address = running.serve(None);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"99999999999 <1>").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
    running.end().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let (intake, _queue) = Intake::new(SystemClock::shared());
    let (_sender, receiver) = tokio::io::duplex(64);
    let ended = messages(receiver, "", &intake, Duration::from_millis(5)).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn datagrams_beyond_the_queue_are_dropped_and_connections_wait() {
    let (intake, mut queue) = Intake::new(SystemClock::shared());
    let message = vec![b'x'; MAX_MESSAGE];
    for _ in 0..QUEUE {
        intake.offer(&message, "peer");
    }
    assert!((20..100).contains(&queue.len()), "{}", queue.len());
    let held = queue.len();
    let mut put = std::pin::pin!(intake.put(&message, "peer"));
    assert!(futures_util::poll!(put.as_mut()).is_pending());
    drop(queue.recv().await);
    put.await;
    assert_eq!(queue.len(), held);
}

#[tokio::test]
async fn what_the_storage_refuses_is_stored_once_it_can() {
    let disk = crate::storage::disk::faulty::FaultyDisk::with_allowance(10);
    let running = running(Arc::new(disk.clone()));
    running.intake.put(b"<13>1 - box app - - - kept", "").await;
    // The first attempt has failed when the storage says that it is full.
    let wait = async {
        while !running.storage.is_full() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    disk.allow(1 << 20);
    running.storage.check_space();
    running.stored(1).await;
    running.end().await;
}

#[tokio::test]
async fn tls_is_spoken_with_the_configured_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let section =
        SyslogSection { certificate: Some(certificate), private_key: Some(key), ..SyslogSection::default() };
    let mut running = running(Arc::new(RealDisk));
    let address = running.serve(Some(Arc::new(Tls::load(&section).unwrap())));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(b"29 <11>1 - box app - - - secret 1").await.unwrap();
    stream.shutdown().await.unwrap();
    running.stored(1).await;
    running.end().await;

    let without = SyslogSection::default();
    assert!(Tls::load(&without).err().unwrap().to_string().contains("syslog.certificate"));
}

#[test]
fn records_of_one_program_share_a_resource() {
    let (intake, _queue) = Intake::new(SystemClock::shared());
    let read = |text: &str| {
        let room = Arc::clone(&intake.room).try_acquire_owned().unwrap();
        intake.read(text.as_bytes(), "peer", room)
    };
    let batch = grouped(
        [read("<1>1 - a x - - - 1"), read("<1>1 - a y - - - 2"), read("<1>1 - a x - - - 3")].into_iter(),
    );
    assert_eq!(batch.groups.iter().map(|(_, records)| records.len()).collect::<Vec<_>>(), [2, 1]);
    assert!(attribute(&batch.groups[0].0.attributes, "host.name").is_some());
}
