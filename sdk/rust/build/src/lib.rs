//! For build scripts: turns `.proto` files into what [`firn-sdk`](https://docs.rs/firn-sdk) needs.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), firn_sdk_build::Error> {
//!     firn_sdk_build::compile(&["shop/cart.proto"], &["proto"])
//! }
//! ```
//!
//! In the program, `firn_sdk::include_proto!("shop")` brings in, for the package `shop`:
//! - its messages, as prost generates them,
//! - a module for each service, with its `SERVICE` and a constant for each method: `AddItem` of the
//!   service `Cart` is `cart::ADD_ITEM`, and knows the types of its request and reply.
//!
//! The descriptors, which Firn is sent, are part of each `SERVICE`. No `protoc` is needed, and the
//! files of `google/protobuf` and `google/api` are there without being copied.

mod google;
mod services;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use prost_build::Module;
use prost_types::FileDescriptorSet;
use protox::Compiler;
use protox::file::{ChainFileResolver, GoogleFileResolver, IncludeFileResolver};

/// Why nothing was generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This does not run in a build script, and no folder for the output was given.
    #[error("OUT_DIR is not set: call this from build.rs, or name a folder with out_dir")]
    NoOutDir,
    /// A file does not compile; the text has the place.
    #[error("{0}")]
    Proto(#[from] protox::Error),
    /// The code cannot be generated or written.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

/// Compiles files, named from the folders in `includes`, with the defaults.
///
/// # Errors
/// If a file does not compile, or the output cannot be written.
pub fn compile(files: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    Builder::default().compile(files, includes)
}

/// Compiles with choices.
#[derive(Default)]
pub struct Builder {
    config: Option<prost_build::Config>,
    out_dir: Option<PathBuf>,
}

impl Builder {
    /// Begins with a configuration of prost, for example with attributes on types.
    #[must_use]
    pub fn config(mut self, config: prost_build::Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Where the output goes; `OUT_DIR` if not said.
    #[must_use]
    pub fn out_dir(mut self, out_dir: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(out_dir.into());
        self
    }

    /// Compiles files, named from the folders in `includes`.
    ///
    /// # Errors
    /// If a file does not compile, or the output cannot be written.
    pub fn compile(
        self,
        files: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Error> {
        for include in includes {
            println!("cargo:rerun-if-changed={}", include.as_ref().display());
        }
        let out_dir = match self.out_dir {
            Some(out_dir) => out_dir,
            None => env::var_os("OUT_DIR").ok_or(Error::NoOutDir)?.into(),
        };
        let compiler = link(files, includes)?;
        let all = compiler.file_descriptor_set();
        let sent = sent(&all);
        // Builds that compile several sets into one folder keep their descriptors apart.
        let descriptors = sent.last().map_or_else(
            || "firn.bin".to_owned(),
            |name| format!("{}.bin", name.replace(['/', '.'], "_")),
        );
        write(&out_dir.join(&descriptors), &encode(&compiler, &sent))?;

        let mut config = self.config.unwrap_or_default();
        config
            .enable_type_names()
            .prost_path("::firn_sdk::prost")
            .prost_types_path("::firn_sdk::prost_types")
            .service_generator(Box::new(services::Constants { descriptors }));
        let io = |cause| Error::Io {
            path: out_dir.clone(),
            cause,
        };
        let ours = all
            .file
            .iter()
            .filter(|file| sent.contains(&file.name().to_owned()));
        let packages: Vec<Module> = ours
            .map(|file| Module::from_protobuf_package_name(file.package()))
            .collect();
        let code = config.generate(requests(all)).map_err(io)?;
        let code: BTreeMap<_, _> = code.into_iter().collect();
        for (module, code) in code
            .into_iter()
            .filter(|(module, _)| packages.contains(module))
        {
            write(&out_dir.join(module.to_file_name_or("_")), code.as_bytes())?;
        }
        Ok(())
    }
}

/// Compiles the files and everything that they need.
fn link(files: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<Compiler, Error> {
    let mut resolver = ChainFileResolver::new();
    for include in includes {
        resolver.add(IncludeFileResolver::new(include.as_ref().to_owned()));
    }
    resolver.add(google::Api);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    // The places in the files are kept: Firn's findings name them.
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files)?;
    Ok(compiler)
}

/// The names of the files that Firn is sent: all but those that it has (R10).
fn sent(all: &FileDescriptorSet) -> Vec<String> {
    let uses = |name: &str| {
        let mut files = all.file.iter();
        files.any(|file| file.dependency.iter().any(|it| it == name))
    };
    let names = all.file.iter().map(|file| file.name());
    let sent = names.filter(|name| {
        !name.starts_with("google/protobuf/")
            && (!name.starts_with("google/api/")
                || (*name == google::HTTP_BODY && uses(google::HTTP_BODY)))
    });
    sent.map(str::to_owned).collect()
}

/// A `google.protobuf.FileDescriptorSet` of these files, with the options that prost does not know,
/// such as HTTP rules.
fn encode(compiler: &Compiler, names: &[String]) -> Vec<u8> {
    let pool = compiler.descriptor_pool();
    let files = names.iter().filter_map(|name| pool.get_file_by_name(name));
    let mut set = Vec::new();
    for file in files {
        let file = file.encode_to_vec();
        // Field 1, as bytes.
        set.push(0x0a);
        prost::encoding::encode_varint(file.len() as u64, &mut set);
        set.extend_from_slice(&file);
    }
    set
}

fn requests(set: FileDescriptorSet) -> Vec<(Module, prost_types::FileDescriptorProto)> {
    set.file
        .into_iter()
        .map(|file| (Module::from_protobuf_package_name(file.package()), file))
        .collect()
}

/// Writes a file unless it is there already, so that nothing is built anew without need.
fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    fs::write(path, content).map_err(|cause| Error::Io {
        path: path.to_owned(),
        cause,
    })
}
