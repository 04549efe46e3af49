//! The contract that both databases keep, each test on both.

#![expect(clippy::unwrap_used, reason = "a helper shared by the tests below")]
use std::time::Duration;

use quintet_store::{Error, Migration, Module, Settings, Sql, Store, args};
use quintet_testkit::databases;

static PEOPLE: Module = Module {
    name: "people",
    migrations: &[Migration {
        version: 1,
        name: "people",
        sql: Sql::one(
            "CREATE TABLE people (
                id TEXT NOT NULL PRIMARY KEY,
                email TEXT NOT NULL UNIQUE,
                age BIGINT CHECK (age >= 0),
                active BOOLEAN NOT NULL DEFAULT TRUE,
                avatar BYTEA,
                score DOUBLE PRECISION
            );
            CREATE TABLE pets (id TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL REFERENCES people (id));",
        ),
        oldest_reader: 1,
    }],
};

const INSERT: &str = "INSERT INTO people (id, email, age) VALUES ($1, $2, $3)";

async fn count(store: &Store) -> i64 {
    store.fetch_one("SELECT count(*) AS n FROM people", args![]).await.unwrap().get("n").unwrap()
}

#[tokio::test]
async fn a_committed_transaction_is_visible_and_a_dropped_one_is_not() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.execute(INSERT, args!["a", "a@x", 1i64]).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.execute(INSERT, args!["b", "b@x", 2i64]).await.unwrap();
        drop(tx);
        // The next writer sees the undone state: the undoing happens before it gets the lock.
        let mut tx = store.begin().await.unwrap();
        let n: i64 =
            tx.fetch_one("SELECT count(*) AS n FROM people", args![]).await.unwrap().get("n").unwrap();
        assert_eq!(n, 1, "{}", database.name);
    }
}

#[tokio::test]
async fn every_value_comes_back_as_it_went_in_and_null_stays_null() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let sql =
            "INSERT INTO people (id, email, age, active, avatar, score) VALUES ($1, $2, $3, $4, $5, $6)";
        tx.execute(sql, args!["a", "ü\"'\\@x", i64::MAX, false, vec![0u8, 255], 0.1f64]).await.unwrap();
        let none: (Option<i64>, Option<Vec<u8>>, Option<f64>) = (None, None, None);
        tx.execute(sql, args!["b", "b", none.0, true, none.1, none.2]).await.unwrap();
        tx.commit().await.unwrap();
        let rows = store.fetch_all("SELECT * FROM people ORDER BY id", args![]).await.unwrap();
        assert_eq!(rows[0].get::<String>("email").unwrap(), "ü\"'\\@x");
        assert_eq!(rows[0].get::<i64>("age").unwrap(), i64::MAX);
        assert!(!rows[0].get::<bool>("active").unwrap());
        assert_eq!(rows[0].get::<Vec<u8>>("avatar").unwrap(), [0, 255]);
        assert_eq!(rows[0].get::<f64>("score").unwrap().to_bits(), 0.1f64.to_bits());
        assert_eq!(rows[1].get::<Option<i64>>("age").unwrap(), None);
        assert_eq!(rows[1].get::<Option<Vec<u8>>>("avatar").unwrap(), None);
        assert!(
            matches!(rows[1].get::<i64>("age"), Err(Error::Decode { column: "age", .. })),
            "{}",
            database.name
        );
    }
}

#[tokio::test]
async fn constraint_failures_are_told_apart() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.execute(INSERT, args!["a", "a@x", 1i64]).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = store.begin().await.unwrap();
        let error = tx.execute(INSERT, args!["b", "a@x", 1i64]).await.unwrap_err();
        assert!(error.is_conflict_on("people", "email"), "{}: {error:?}", database.name);
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        let error = tx.execute(INSERT, args!["b", "b@x", -1i64]).await.unwrap_err();
        assert!(matches!(error, Error::Check { .. }), "{}: {error:?}", database.name);
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        let error = tx.execute("INSERT INTO pets VALUES ('p', 'nobody')", args![]).await.unwrap_err();
        assert!(matches!(error, Error::ForeignKey), "{}: {error:?}", database.name);
    }
}

#[tokio::test]
async fn a_statement_that_was_sent_and_not_waited_for_fails_its_transaction() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.send(INSERT, args!["a", "a@x", 1i64]).await.unwrap();
        tx.commit().await.unwrap();

        let failed = async |waiting: bool| {
            let mut tx = store.begin().await?;
            tx.send(INSERT, args!["b", "b@x", 1i64]).await?;
            tx.send(INSERT, args!["c", "a@x", 1i64]).await?;
            if waiting {
                tx.fetch_all("SELECT id FROM people", args![]).await?;
            }
            tx.commit().await
        };
        for waiting in [false, true] {
            let error = failed(waiting).await.unwrap_err();
            assert!(error.is_conflict_on("people", "email"), "{} {waiting}: {error:?}", database.name);
            assert_eq!(count(store).await, 1, "{} {waiting}", database.name);
        }
    }
}

#[tokio::test]
async fn rows_that_were_asked_for_come_in_any_order_and_as_of_their_own_statement() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let none = tx.ask("SELECT id FROM people", args![]).await.unwrap();
        tx.send(INSERT, args!["a", "a@x", 1i64]).await.unwrap();
        let one = tx.ask("SELECT id FROM people", args![]).await.unwrap();
        let changed = tx.ask("UPDATE people SET age = 2 RETURNING age", args![]).await.unwrap();
        assert_eq!(tx.answer(changed).await.unwrap()[0].get::<i64>("age").unwrap(), 2, "{}", database.name);
        assert_eq!(tx.answer(one).await.unwrap().len(), 1, "{}", database.name);
        assert!(tx.answer(none).await.unwrap().is_empty(), "{}", database.name);
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_query_that_was_asked_and_failed_fails_its_transaction_though_nobody_wants_its_rows() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let failed = async |wanted: bool| {
            let mut tx = store.begin().await?;
            tx.send(INSERT, args!["a", "a@x", 1i64]).await?;
            let asked = tx
                .ask("INSERT INTO people (id, email, age) VALUES ('b', 'a@x', 1) RETURNING id", args![])
                .await?;
            let after = tx.ask("SELECT id FROM people", args![]).await?;
            if wanted {
                tx.answer(after).await?;
            }
            drop(asked);
            tx.commit().await
        };
        for wanted in [false, true] {
            let error = failed(wanted).await.unwrap_err();
            assert!(error.is_conflict_on("people", "email"), "{} {wanted}: {error:?}", database.name);
            assert_eq!(count(store).await, 0, "{} {wanted}", database.name);
        }
    }
}

#[tokio::test]
async fn more_statements_than_are_kept_in_flight_can_be_sent() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        for number in 0..500i64 {
            let text = number.to_string();
            tx.send(INSERT, args![&text, &text, number]).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(count(store).await, 500, "{}", database.name);
    }
}

#[tokio::test]
async fn postgresql_refuses_to_commit_what_it_has_undone() {
    for database in databases().await {
        if database.name != "postgres" {
            continue;
        }
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.execute(INSERT, args!["a", "a@x", 1i64]).await.unwrap();
        tx.execute(INSERT, args!["a", "b@x", 1i64]).await.unwrap_err();
        assert!(matches!(tx.commit().await, Err(Error::Database(_))));
        assert_eq!(count(store).await, 0);
    }
}

#[tokio::test]
async fn arrays_are_arguments_on_both_databases() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        for id in ["a", "b\"\n", "c"] {
            tx.execute(INSERT, args![id, id, 1i64]).await.unwrap();
        }
        tx.commit().await.unwrap();
        let sql = Sql::per_dialect(
            "SELECT id FROM people WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id",
            "SELECT id FROM people WHERE id = ANY($1) ORDER BY id",
        );
        let rows = store.fetch_all(sql, args![vec!["a".to_owned(), "b\"\n".to_owned()]]).await.unwrap();
        let ids: Vec<String> = rows.iter().map(|row| row.get("id").unwrap()).collect();
        assert_eq!(ids, ["a", "b\"\n"], "{}", database.name);
    }
}

#[tokio::test]
async fn children_come_by_their_parent_in_the_order_of_the_query() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        for id in ["a", "b", "c"] {
            tx.execute(INSERT, args![id, id, 1i64]).await.unwrap();
        }
        for (id, owner) in [("p1", "a"), ("p2", "c"), ("p3", "a")] {
            tx.execute("INSERT INTO pets VALUES ($1, $2)", args![id, owner]).await.unwrap();
        }
        tx.commit().await.unwrap();
        let people =
            store.fetch_all("SELECT id FROM people WHERE id < 'c' ORDER BY id", args![]).await.unwrap();
        let sql = Sql::per_dialect(
            "SELECT id, owner FROM pets WHERE owner IN (SELECT value FROM json_each($1)) ORDER BY id",
            "SELECT id, owner FROM pets WHERE owner = ANY($1) ORDER BY id",
        );
        let pets = store.fetch_children(&people, sql, "owner").await.unwrap();
        let ids: Vec<String> = pets["a"].iter().map(|row| row.get("id").unwrap()).collect();
        assert_eq!(ids, ["p1", "p3"], "{}", database.name);
        assert_eq!(pets.len(), 1, "{}: b has none and c was not asked for", database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_all_commit_and_one_failure_harms_no_other() {
    for database in databases().await {
        let store = database.store.clone();
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100i64 {
            let store = store.clone();
            tasks.spawn(async move {
                let mut tx = store.begin().await.unwrap();
                tx.execute(INSERT, args![n.to_string(), n.to_string(), n]).await.unwrap();
                match n % 5 {
                    0 => drop(tx),
                    1 => {
                        tx.execute(INSERT, args![n.to_string(), "again", n]).await.unwrap_err();
                        drop(tx);
                    }
                    _ => tx.commit().await.unwrap(),
                }
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        assert_eq!(count(&store).await, 60, "{}", database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_writer_does_not_keep_another_process_waiting() {
    for database in databases().await {
        database.store.migrate(&[&PEOPLE]).await.unwrap();
        let other = Store::connect(&Settings::for_url(&database.url)).await.unwrap();
        for n in 0..20i64 {
            // Dropped at a different await each time, as a disconnecting client does.
            let store = database.store.clone();
            let abandoned = async move {
                let mut tx = store.begin().await.unwrap();
                tx.execute(INSERT, args![format!("x{n}"), format!("x{n}"), n]).await.unwrap();
                tx.commit().await.unwrap();
            };
            let _ =
                tokio::time::timeout(Duration::from_micros(u64::try_from(n).unwrap() * 50), abandoned).await;
            let mut tx = other.begin().await.unwrap();
            tx.execute(INSERT, args![n.to_string(), n.to_string(), n]).await.unwrap();
            tokio::time::timeout(Duration::from_secs(5), tx.commit()).await.unwrap().unwrap();
        }
        assert!(count(&other).await >= 20, "{}", database.name);
    }
}

#[tokio::test]
async fn a_snapshot_does_not_see_later_commits() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut snapshot = store.read().await.unwrap();
        let before: i64 =
            snapshot.fetch_one("SELECT count(*) AS n FROM people", args![]).await.unwrap().get("n").unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.execute(INSERT, args!["a", "a", 1i64]).await.unwrap();
        tx.commit().await.unwrap();
        let after: i64 =
            snapshot.fetch_one("SELECT count(*) AS n FROM people", args![]).await.unwrap().get("n").unwrap();
        assert_eq!((before, after), (0, 0), "{}", database.name);
        assert_eq!(count(store).await, 1);
    }
}

#[tokio::test]
async fn a_watcher_hears_a_commit_of_another_connection() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE]).await.unwrap();
        let mut watch = store.watch("people").await.unwrap();
        assert!(!watch.changed(Duration::from_millis(30)).await.unwrap());
        let mut tx = store.begin().await.unwrap();
        tx.execute(INSERT, args!["a", "a", 1i64]).await.unwrap();
        tx.notify("people").await.unwrap();
        tx.commit().await.unwrap();
        assert!(watch.changed(Duration::from_secs(5)).await.unwrap(), "{}", database.name);
    }
}

#[tokio::test]
async fn migrations_run_once_and_two_starters_do_not_collide() {
    for database in databases().await {
        let other = Store::connect(&Settings::for_url(&database.url)).await.unwrap();
        let modules = [&PEOPLE];
        let (one, two) = tokio::join!(database.store.migrate(&modules), other.migrate(&modules));
        one.unwrap();
        two.unwrap();
        assert_eq!(count(&other).await, 0, "{}", database.name);
    }
}

static PEOPLE_EXPANDED: Module = Module {
    name: "people",
    migrations: &[
        Migration { version: 1, name: "people", sql: Sql::one("CREATE TABLE p (id TEXT)"), oldest_reader: 1 },
        Migration {
            version: 2,
            name: "nick",
            sql: Sql::one("ALTER TABLE p ADD COLUMN nick TEXT"),
            oldest_reader: 1,
        },
    ],
};
static PEOPLE_CONTRACTED: Module = Module {
    name: "people",
    migrations: &[
        Migration { version: 1, name: "people", sql: Sql::one("CREATE TABLE p (id TEXT)"), oldest_reader: 1 },
        Migration {
            version: 2,
            name: "nick",
            sql: Sql::one("ALTER TABLE p ADD COLUMN nick TEXT"),
            oldest_reader: 1,
        },
        Migration {
            version: 3,
            name: "drop",
            sql: Sql::one("ALTER TABLE p DROP COLUMN nick"),
            oldest_reader: 2,
        },
    ],
};
static PEOPLE_OLD: Module = Module {
    name: "people",
    migrations: &[Migration {
        version: 1,
        name: "people",
        sql: Sql::one("CREATE TABLE p (id TEXT)"),
        oldest_reader: 1,
    }],
};
static PEOPLE_EDITED: Module = Module {
    name: "people",
    migrations: &[Migration {
        version: 1,
        name: "people",
        sql: Sql::one("CREATE TABLE p (id TEXT, x TEXT)"),
        oldest_reader: 1,
    }],
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn starters_that_create_the_same_file_at_once_all_open_it() {
    for round in 0..100 {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("new.db").display());
        let mut starters = tokio::task::JoinSet::new();
        for place in 0..6 {
            let settings = Settings::for_url(&url);
            let apart = Duration::from_micros(place * round * 20);
            starters.spawn(async move {
                tokio::time::sleep(apart).await;
                let store = Store::connect(&settings).await?;
                let mut tx = store.begin().await?;
                tx.execute("CREATE TABLE IF NOT EXISTS made (id BIGINT)", args![]).await?;
                tx.commit().await
            });
        }
        for opened in starters.join_all().await {
            opened.unwrap();
        }
    }
}

#[tokio::test]
async fn an_older_binary_works_on_an_expanded_schema_and_refuses_a_contracted_one() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&PEOPLE_EXPANDED]).await.unwrap();
        store.migrate(&[&PEOPLE_OLD]).await.unwrap();
        store.migrate(&[&PEOPLE_CONTRACTED]).await.unwrap();
        let error = store.migrate(&[&PEOPLE_OLD]).await.unwrap_err();
        assert!(matches!(error, Error::NewerSchema { found: 3, needs: 2, known: 1, .. }), "{error:?}");
        store.migrate(&[&PEOPLE_EXPANDED]).await.unwrap();
    }
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    for database in databases().await {
        database.store.migrate(&[&PEOPLE_OLD]).await.unwrap();
        let error = database.store.migrate(&[&PEOPLE_EDITED]).await.unwrap_err();
        assert!(matches!(error, Error::EditedMigration { version: 1, .. }), "{}: {error:?}", database.name);
    }
}

#[tokio::test]
async fn a_failing_migration_leaves_nothing() {
    static BROKEN: Module = Module {
        name: "broken",
        migrations: &[Migration {
            version: 1,
            name: "broken",
            sql: Sql::one("CREATE TABLE half (id TEXT); CREATE TABLE half (id TEXT);"),
            oldest_reader: 1,
        }],
    };
    for database in databases().await {
        let error = database.store.migrate(&[&BROKEN]).await.unwrap_err();
        assert!(matches!(error, Error::Migration { version: 1, .. }), "{}: {error:?}", database.name);
        database.store.fetch_all("SELECT * FROM half", args![]).await.unwrap_err();
    }
}

#[tokio::test]
async fn wrong_settings_say_what_to_change() {
    for (url, expected) in [
        ("mysql://x", "sqlite: or postgres:"),
        ("sqlite:/nonexistent/dir/x.db", "check that its directory exists"),
    ] {
        let error = Store::connect(&Settings::for_url(url)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let mut settings = Settings::for_url("sqlite:x");
    settings.url = None;
    assert!(Store::connect(&settings).await.unwrap_err().to_string().contains("database.url is missing"));
}
