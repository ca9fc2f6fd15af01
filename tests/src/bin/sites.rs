//! A cluster in sites on this machine, for trying failures out: `sites --help`.

use std::io::{BufRead, Write, stdin, stdout};

use securanet_tests::cluster::console::{Console, HELP, plan};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let plan = plan(&words)?;
    eprintln!("starting {} nodes ...", plan.places.len());
    let console = Console::start(&plan)?;
    print!("{}", console.obey("status")?.unwrap_or_default());
    println!("`help` lists the commands.");
    stdout().flush()?;
    for line in stdin().lock().lines() {
        match console.obey(line?.trim()) {
            Ok(Some(text)) => print!("{text}"),
            Ok(None) => break,
            Err(error) => println!("{error:#}"),
        }
        stdout().flush()?;
    }
    Ok(())
}
