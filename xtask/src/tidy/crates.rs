//! Who may depend on whom.

use super::Tree;

/// The crates from the one that knows nobody to the one that knows all. A crate may depend on
/// those before it.
const ORDER: &[&str] = &[
    "model", "wire", "store", "crdt", "runtime", "link", "edge", "load", "cluster", "eventing",
    "operator", "tck", "firn",
];

/// Helps tests, so it may know all that it likes, and nobody may know it outside tests.
const TESTKIT: &str = "testkit";

/// What a crate may not depend on, beyond the order.
struct Ignorance {
    crate_name: &'static str,
    of: &'static [&'static str],
    instead: &'static str,
}

const IGNORANCE: &[Ignorance] = &[
    Ignorance {
        crate_name: "model",
        of: &["tokio", "tonic", "hyper", "axum", "fjall"],
        instead: "the model is plain data without I/O",
    },
    Ignorance {
        crate_name: "wire",
        of: &["tokio", "hyper", "axum", "fjall"],
        instead: "wire only converts; firn-link moves the bytes",
    },
    Ignorance {
        crate_name: "crdt",
        of: &["firn-wire", "firn-store", "tokio", "prost"],
        instead: "replicated data is pure; the runtime moves and stores what it encodes",
    },
    Ignorance {
        crate_name: "runtime",
        of: &[
            "tonic",
            "tonic-prost",
            "hyper",
            "hyper-util",
            "h2",
            "axum",
            "fjall",
            "prost",
            "prost-types",
            "tokio-postgres",
            "firn-wire",
        ],
        instead: "the runtime knows no protocol, no socket and no SQL; it takes a trait and is \
                  given the implementation by the firn crate",
    },
    Ignorance {
        crate_name: "link",
        of: &["firn-store", "firn-crdt", "fjall", "tokio-postgres"],
        instead: "a link turns a function's answer into a decision; the runtime stores it",
    },
    Ignorance {
        crate_name: "edge",
        of: &[
            "firn-wire",
            "firn-link",
            "firn-runtime",
            "firn-crdt",
            "firn-store",
            "fjall",
            "tokio-postgres",
        ],
        instead: "the edge knows no family; it reads policies and hands calls to its backend",
    },
    Ignorance {
        crate_name: "load",
        of: &[
            "firn-model",
            "firn-wire",
            "firn-store",
            "firn-crdt",
            "firn-runtime",
            "firn-link",
            "firn-edge",
            "tonic",
            "hyper",
        ],
        instead: "a load sees a server from outside, and stands on h2 alone, to cost little",
    },
    Ignorance {
        crate_name: "tck",
        of: &[
            "firn-model",
            "firn-wire",
            "firn-store",
            "firn-crdt",
            "firn-runtime",
            "firn-link",
            "firn-edge",
            "tonic",
            "clap",
        ],
        instead: "the conformance kit judges from outside: it reads the protocol anew, so that a \
                  mistake in Firn is not made there again",
    },
];

/// The dependencies that a `Cargo.toml` lists in one table (`dependencies`, also of targets).
fn dependencies(manifest: &toml::Table, table: &str) -> Vec<String> {
    let names = |of: &toml::Table| -> Vec<String> {
        of.get(table)
            .and_then(toml::Value::as_table)
            .map_or_else(Vec::new, |table| table.keys().cloned().collect())
    };
    let mut all = names(manifest);
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    for target in targets.into_iter().flat_map(|targets| targets.values()) {
        all.extend(target.as_table().map_or_else(Vec::new, names));
    }
    all
}

/// Every crate's short name, with its manifest's path and content. The conformance kit is a crate
/// beside `crates`.
fn manifests(tree: &Tree) -> Vec<(&str, &str, Result<toml::Table, String>)> {
    tree.below("", "/Cargo.toml")
        .filter_map(|file| {
            let folder = file.path.strip_suffix("/Cargo.toml")?;
            let name = match folder.strip_prefix("crates/") {
                Some(name) => name,
                None if folder == "tck" => folder,
                None => return None,
            };
            let table = file
                .text
                .parse()
                .map_err(|error| format!("{}: {error}", file.path));
            Some((name, file.path.as_str(), table))
        })
        .collect()
}

pub(super) fn order(tree: &Tree) -> Vec<String> {
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    let mut faults = Vec::new();
    for (name, path, manifest) in manifests(tree) {
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        if name == TESTKIT {
            continue;
        }
        let Some(own) = place(name) else {
            faults.push(format!(
                "{path}: give {name} its place in ORDER of the tidy rules"
            ));
            continue;
        };
        for dependency in dependencies(&manifest, "dependencies") {
            let Some(other) = dependency.strip_prefix("firn-") else {
                continue;
            };
            if other != TESTKIT && place(other).is_none_or(|other| other >= own) {
                faults.push(format!(
                    "{path}: {name} may not depend on {dependency}: move the shared part below \
                     both, or turn the dependency round with a trait"
                ));
            }
        }
    }
    faults
}

pub(super) fn testkit(tree: &Tree) -> Vec<String> {
    let names_it = |(_, path, manifest): (&str, &str, Result<toml::Table, String>)| {
        let manifest = manifest.ok()?;
        dependencies(&manifest, "dependencies")
            .contains(&"firn-testkit".to_owned())
            .then(|| format!("{path}: move firn-testkit to [dev-dependencies]"))
    };
    manifests(tree).into_iter().filter_map(names_it).collect()
}

pub(super) fn ignorance(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, path, manifest) in manifests(tree) {
        let Ok(manifest) = manifest else { continue };
        let dependencies = dependencies(&manifest, "dependencies");
        for Ignorance { of, instead, .. } in IGNORANCE.iter().filter(|i| i.crate_name == name) {
            let known = dependencies
                .iter()
                .filter(|known| of.contains(&known.as_str()));
            faults.extend(known.map(|known| format!("{path}: remove {known}: {instead}")));
        }
    }
    faults
}

pub(super) fn described(tree: &Tree) -> Vec<String> {
    let silent = tree.files.iter().filter(|file| {
        (file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs"))
            && !file.text.starts_with("//! ")
    });
    silent
        .map(|file| {
            format!(
                "{}: begin with `//!` and one sentence on what it is",
                file.path
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    fn check(rule: fn(&Tree) -> Vec<String>, files: &[(&str, &str)], expected: &[&str]) {
        let faults = rule(&tree(files));
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn a_crate_may_know_those_below_it_only() {
        let on = |dependency| format!("[dependencies]\n{dependency}.workspace = true\n");
        let (model, edge) = (on("firn-model"), on("firn-edge"));
        check(order, &[("crates/wire/Cargo.toml", &model)], &[]);
        check(order, &[("crates/wire/Cargo.toml", &edge)], &["firn-edge"]);
        check(order, &[("crates/edge/Cargo.toml", &edge)], &["firn-edge"]);
        check(order, &[("crates/new/Cargo.toml", &model)], &["ORDER"]);
        check(order, &[("crates/testkit/Cargo.toml", &edge)], &[]);
        check(
            order,
            &[("crates/wire/Cargo.toml", "no toml")],
            &["crates/wire"],
        );
    }

    #[test]
    fn the_test_kit_stays_in_tests() {
        let files = |table| format!("[{table}]\nfirn-testkit.workspace = true\n");
        let (wrong, right) = (files("dependencies"), files("dev-dependencies"));
        check(
            testkit,
            &[("crates/link/Cargo.toml", &wrong)],
            &["dev-dependencies"],
        );
        check(testkit, &[("crates/link/Cargo.toml", &right)], &[]);
    }

    #[test]
    fn the_runtime_knows_no_protocol() {
        let direct = "[dependencies]\ntonic = \"1\"\ntokio = \"1\"\n";
        let for_target = "[target.'cfg(unix)'.dependencies]\nfjall = \"1\"\n";
        check(
            ignorance,
            &[("crates/runtime/Cargo.toml", direct)],
            &["tonic"],
        );
        check(
            ignorance,
            &[("crates/runtime/Cargo.toml", for_target)],
            &["fjall"],
        );
        check(ignorance, &[("crates/firn/Cargo.toml", direct)], &[]);
    }

    #[test]
    fn the_conformance_kit_knows_nothing_of_firn() {
        let on_model = "[dependencies]\nfirn-model.workspace = true\n";
        check(ignorance, &[("tck/Cargo.toml", on_model)], &["firn-model"]);
        let on_kit = "[dependencies]\nfirn-tck.workspace = true\n";
        check(order, &[("crates/firn/Cargo.toml", on_kit)], &[]);
        check(order, &[("crates/edge/Cargo.toml", on_kit)], &["firn-tck"]);
    }

    #[test]
    fn crates_describe_themselves() {
        check(described, &[("crates/a/src/lib.rs", "//! It.")], &[]);
        check(
            described,
            &[("samples/a/src/main.rs", "fn main() {}")],
            &["//!"],
        );
    }
}
