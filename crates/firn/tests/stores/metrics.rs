//! What is counted of a database, and that its page says so.

use std::net::SocketAddr;
use std::time::Duration;

use firn_testkit::client::Client;
use firn_testkit::metrics::{Metrics, documented, served};
use firn_testkit::postgres::{Cut, Postgres, Rule};

use crate::shop::{Function, firn, item, method};

/// Asks until the metrics are as they should be.
pub(crate) async fn until(admin: SocketAddr, what: &str, is_so: impl Fn(&Metrics) -> bool) {
    let asking = async {
        while !is_so(&served(admin).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(60);
    let waited = tokio::time::timeout(patience, asking).await;
    waited.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_a_database_are_those_of_their_page() {
    let server = Postgres::start();
    let cut = Cut::before(server.address());
    let fresh = server.fresh();
    let schema = fresh.rsplit("%3D").next().expect("a schema");
    let function = Function::start();
    let url = server.url_of(cut.address, schema);
    let firn = firn(&function, &url, &["--lease", "2s"]);
    let client = Client::connect(firn.clients).await;
    let add = method("AddItem");
    client
        .call(&add, item("a", "one"))
        .await
        .expect("it is added");

    let metrics = served(firn.admin).await;
    assert_eq!(
        metrics.described,
        documented(&["Every store", "PostgreSQL"])
    );
    let landed = "firn_store_commits_total{outcome=\"landed\"}";
    assert_eq!(metrics.value(landed), 1.0);
    assert_eq!(metrics.value("firn_store_flush_seconds_count"), 1.0);
    assert_eq!(metrics.value("firn_store_lease_slots"), 16_384.0);
    assert_eq!(metrics.value("firn_store_lease_runs"), 1.0);
    assert!(metrics.value("firn_store_size_bytes") > 1e6);
    let commits = |name: &str| format!("firn_store_{name}{{use=\"commits\"}}");
    assert_eq!(metrics.value(&commits("connections_max")), 1.0);
    let before = metrics.value(&commits("connects_total"));
    assert_eq!(metrics.value(&commits("connections")), before);

    // Nothing reaches the database: what is lost, busy or not renewed is seen.
    cut.rule(Rule::Hold);
    let adding = tokio::spawn(async move {
        let added = client.call(&method("AddItem"), item("a", "two")).await;
        added.map(drop)
    });
    let busy = commits("connections_busy");
    until(firn.admin, "busy", |it| it.value(&busy) == 1.0).await;
    cut.rule(Rule::Refuse);
    cut.cut();
    let lease = "firn_store_lease_runs";
    until(firn.admin, "without a lease", |it| it.value(lease) == 0.0).await;
    let failures = "firn_store_lease_renewal_failures_total";
    until(firn.admin, "not renewed", |it| it.value(failures) > 0.0).await;
    let refused = commits("connect_failures_total");
    until(firn.admin, "refused", |it| it.value(&refused) > 0.0).await;
    cut.rule(Rule::Pass);
    adding.await.expect("it is done").expect("it is added");
    until(firn.admin, "renewed", |it| it.value(lease) == 1.0).await;
    let metrics = served(firn.admin).await;
    assert_eq!(metrics.value(landed), 2.0);
    assert!(metrics.value(&commits("connects_total")) > before);
}

/// As where the function that tells it is missing, here hidden by another of its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_size_that_the_database_does_not_tell_is_left_out_alone() {
    let server = Postgres::start();
    let fresh = server.fresh();
    let schema = fresh.rsplit("%3D").next().expect("a schema");
    server.sql(&format!(
        "CREATE FUNCTION {schema}.pg_total_relation_size(oid) RETURNS int8 LANGUAGE plpgsql \
         AS $$ BEGIN RAISE undefined_function; END $$"
    ));
    let function = Function::start();
    let firn = firn(&function, &format!("{fresh},pg_catalog"), &[]);
    let mut documented = documented(&["Every store", "PostgreSQL"]);
    assert!(documented.remove("firn_store_size_bytes").is_some());
    assert_eq!(served(firn.admin).await.described, documented);
}
