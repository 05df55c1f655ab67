//! The flags of settings: which of them a command takes.

use clap::Arg;

use super::older::older_names;
use super::{Mode, SETTINGS, default};

/// The settings of a store that every command on one uses.
const STORE_SETTINGS: &[&str] = &[
    "store",
    "encryption-keys",
    "encryption-key-file",
    "cache-bytes",
];

/// The flags of all settings.
pub(crate) fn args(mode: Mode) -> impl Iterator<Item = Arg> {
    args_of(mode, |_| true)
}

/// The flags of the settings of a store for a command that uses these others too.
pub(crate) fn store_args(others: &'static [&'static str]) -> impl Iterator<Item = Arg> {
    let is_used = |name: &str| STORE_SETTINGS.contains(&name) || others.contains(&name);
    args_of(Mode::Dev, is_used)
}

/// The flags of the settings of a store from which events are removed.
pub(crate) fn trim_args() -> impl Iterator<Item = Arg> {
    store_args(&["retain-events"])
}

/// The flags of the settings of keys.
pub(crate) fn key_args() -> impl Iterator<Item = Arg> {
    args_of(Mode::Dev, |name| name.starts_with("encryption-key"))
}

fn args_of(mode: Mode, is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Arg> {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("A TOML file with the settings below by their names [env: FIRN_CONFIG]");
    let settings = SETTINGS.iter();
    let wanted = settings.filter(move |setting| is_wanted(setting.name));
    std::iter::once(config).chain(wanted.map(move |setting| {
        let older = older_names(setting.name);
        let mut help = format!("{} [env: {}{older}]", setting.help, setting.env);
        let default = default(setting, mode);
        if !default.is_empty() {
            help.push_str(&format!(" [default: {default}]"));
        }
        Arg::new(setting.name)
            .long(setting.name)
            .value_name(setting.value)
            .help(help)
            .help_heading("Settings")
    }))
}
