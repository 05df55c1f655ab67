//! The conformance kit against the model services on the published SDKs.
//!
//! What an SDK is known to do otherwise is listed here, each with its reason. One that it does no more
//! fails the test, too: then the list is wrong.

use std::collections::BTreeSet;
use std::process::Command;

use firn_testkit::peer::Description;
use firn_testkit::process::free_port;
use serde_json::Value;

/// What the random workload is made from, so that a failure can be looked at again.
const SEED: &str = "20261121";

/// A fault of an SDK, and the checks that find it.
struct Fault {
    reason: &'static str,
    checks: &'static [&'static str],
}

fn judge(peer: &str, faults: &[Fault]) {
    let description = Description::of(peer);
    let command = description.ready();
    // Not port 0: while the function is killed, nobody else may be given its port.
    let address = format!("127.0.0.1:{}", free_port());
    let output = Command::new(env!("CARGO_BIN_EXE_firn"))
        .args(["tck", "function", &address])
        .args(["--family", &description.family])
        .args(["--seed", SEED, "--commands", "3000", "--timeout", "5s"])
        .args(["--format", "json", "--"])
        .args(command)
        .output()
        .expect("the kit runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).expect("a report");
    let checks = report["checks"].as_array().expect("checks");
    let name = |check: &Value| check["name"].as_str().unwrap_or_default().to_owned();
    let known: BTreeSet<String> = faults
        .iter()
        .flat_map(|fault| fault.checks)
        .map(|name| (*name).to_owned())
        .collect();
    let failed = checks.iter().filter(|check| check["result"] == "failed");
    let wrong: Vec<&Value> = failed
        .clone()
        .filter(|check| !known.contains(&name(check)))
        .collect();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(wrong.is_empty(), "{wrong:#?}\n{said}");
    let failed: BTreeSet<String> = failed.map(name).collect();
    let right: Vec<_> = faults
        .iter()
        .map(|fault| {
            let checks = fault.checks.iter().filter(|name| !failed.contains(**name));
            (fault.reason, checks.collect::<Vec<_>>())
        })
        .filter(|(_, checks)| !checks.is_empty())
        .collect();
    assert!(right.is_empty(), "it does so no more: {right:#?}");
    assert!(checks.len() > 90, "{}", checks.len());
}

/// All of the JavaScript SDKs.
const KEEPS_REJECTED: Fault = Fault {
    reason: "the change of a replicated entity whose command fails is kept",
    checks: &["data/rejected_command_leaves_nothing"],
};

#[test]
fn cloudstate_node() {
    let faults = [
        KEEPS_REJECTED,
        Fault {
            reason: "stateless functions with streamed requests throw at the first message",
            checks: &[
                "action/both_directions_are_streamed",
                "action/calls_do_not_wait_for_each_other",
                "action/cancelled_call_disturbs_no_other",
                "action/failure_ends_a_call_streamed_both_ways",
                "action/failure_ends_streamed_requests",
                "action/streamed_requests_have_one_reply",
            ],
        },
        Fault {
            reason: "a stateless function can only throw, which ends the call INTERNAL",
            checks: &[
                "action/failure_ends_streamed_replies",
                "action/rejected_call_has_its_text",
            ],
        },
        Fault {
            reason: "stateless functions have neither forwards nor effects",
            checks: &[
                "action/effects_come_in_order",
                "action/effects_come_with_streamed_replies",
                "action/forward_names_method_and_request",
                "workload/actions",
            ],
        },
        Fault {
            reason: "an ORMap with sets, registers or maps in it fails when it is given back",
            checks: &[
                "data/map_begins_with_its_value",
                "data/map_changes_elsewhere",
                "workload/maps",
            ],
        },
        Fault {
            reason: "streams of CRDTs are not ended after the proxy ended them",
            checks: &[
                "data/delete_from_elsewhere_ends_it",
                "data/stream_ends_with_the_proxy",
            ],
        },
        Fault {
            reason: "a write consistency cannot be chosen",
            checks: &["data/consistency_goes_with_the_change"],
        },
    ];
    judge("tck-cloudstate-node", &faults);
}

#[test]
fn akkaserverless_node() {
    judge("tck-akkaserverless-node", &[KEEPS_REJECTED]);
}

#[test]
fn kalix_node() {
    let faults = [
        KEEPS_REJECTED,
        Fault {
            reason: "a key of a counter map that stays at zero is shown and never sent",
            checks: &["data/counter_map_has_a_key_at_zero"],
        },
    ];
    judge("tck-kalix-node", &faults);
}
