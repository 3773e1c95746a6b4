//! The `eclipse` program; see [`eclipse_t2i::cli`].

fn main() -> std::process::ExitCode {
    eclipse_t2i::cli::main()
}
