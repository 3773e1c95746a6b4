//! `eclipse serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::device::{DeviceSpec, Precision};
use crate::serve::published::PublishedPriors;
use crate::serve::world::WorldPriors;
use crate::serve::{Painter, ServeError, Server};
use crate::world::World;
use clap::Args;

use super::drawing::usage;
use super::place::{Existing, Prior};
use super::{PrecisionArgs, Usage, check_output_folder, print, world_named};

/// Arguments of `eclipse serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Port; 0 is any free one, which is printed.
    #[arg(long, value_name = "N", default_value_t = 8321)]
    port: u16,
    /// Address to listen at. At any but this machine's own (127.0.0.1, ::1), the page asks for a token, which is a part of the printed URL.
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Finished runs whose priors draw: a folder of experiments, an experiment or a run. Baselines need none.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Built-in world: emoji or shapes.
    #[arg(long, value_name = "NAME", default_value = "emoji", value_parser = world_named)]
    world: World,
    /// Draw with a published decoder instead: a pipeline (a folder with model_index.json), or a folder of pipelines.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["runs", "world"])]
    pipeline: Option<Existing>,
    /// With --pipeline: a prior, by its folder or run; may be repeated. [default: the pipeline's]
    #[arg(long = "prior", value_name = "DIR", requires = "pipeline")]
    priors: Vec<Prior>,
    /// With --pipeline: folder of text_encoder/, tokenizer/ and image_encoder/. [default: the prior's pipeline, else the pipeline]
    #[arg(long, value_name = "DIR", requires = "pipeline")]
    clip: Option<Existing>,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Folder of the gallery. [default: runs/playground]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Answers until Ctrl-C.
pub fn run(args: &ServeArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join("playground"));
    check_output_folder("--out", &out)?;
    // Wrong devices are told now, not at the first request.
    args.precision.device(device)?;
    let at = SocketAddr::new(args.bind, args.port);
    if let Some(pipeline) = &args.pipeline {
        let priors: Vec<PathBuf> = args.priors.iter().map(|prior| prior.to_path_buf()).collect();
        let dtype = args.precision.dtype;
        let published = PublishedPriors::open(pipeline, &priors, args.clip.as_deref(), device, dtype);
        let published = published.map_err(usage)?;
        let server = Server::bind(at, &out, published.catalogue()).map_err(bind_error)?;
        return serve(server, move || Box::new(published.painter()));
    }
    if args.precision.dtype != Precision::default() {
        let reason = "--dtype: the small models of a world compute in f32; give it with --pipeline";
        return Err(Usage(reason.into()).into());
    }
    let priors = WorldPriors::open(args.world, &args.runs).map_err(anyhow::Error::from_boxed)?;
    let catalogue = priors.catalogue().map_err(anyhow::Error::from_boxed)?;
    let server = Server::bind(at, &out, catalogue).map_err(bind_error)?;
    serve(server, move || Box::new(priors.painter(device)))
}

fn serve(server: Server, painter: impl FnOnce() -> Box<dyn Painter> + Send + 'static) -> anyhow::Result<()> {
    let note = match server.is_at_all_addresses() {
        true => "from other machines: the same with this machine's address\n",
        false => "",
    };
    print(&format!("playground: {}\n{note}Ctrl-C stops it\n", server.url()))?;
    Ok(server.run(painter)?)
}

/// An address that cannot be listened at is the user's to change.
fn bind_error(error: ServeError) -> anyhow::Error {
    match error {
        ServeError::Bind { .. } => Usage(error.to_string()).into(),
        other => other.into(),
    }
}
