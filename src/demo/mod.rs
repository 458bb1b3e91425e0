//! placeholder
use crate::cli::CliError;
/// Options of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// End by itself
    #[arg(long)]
    once: bool,
}
pub(crate) fn run(options: &DemoOptions) -> Result<(), CliError> {
    let _ = options.once;
    Ok(())
}
