//! Builds everything that test guests start from, and says where it is (`make guests`).

use std::error::Error;
use std::process::ExitCode;

use punctual_images::{QemuChoice, bare_metal, initramfs, kernel, qemu, streaming};

fn main() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<(), Box<dyn Error>> {
    for choice in [QemuChoice::Seven, QemuChoice::Ten] {
        match qemu(choice) {
            Ok(found) => println!("qemu        {} {}", found.binary.display(), found.version),
            Err(missing) => println!("qemu        {missing}"),
        }
    }
    println!("kernel      {}", kernel()?.display());
    println!("initramfs   {}", initramfs()?.display());
    println!("bare metal  {}", bare_metal()?.display());
    match streaming() {
        Ok(found) => println!("streaming   {}", found.disk.display()),
        Err(missing) => println!("streaming   {missing}"),
    }
    Ok(())
}
