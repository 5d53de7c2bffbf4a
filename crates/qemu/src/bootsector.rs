//! Guests of 512 bytes: enough to prove that an accelerator works, and to test a VMM in milliseconds.

/// What the guest does after it has written its message to the first serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Powers the machine off by ACPI.
    PowersOff,
    /// Goes to 64-bit long mode, as every kernel does, and powers the machine off from there.
    PowersOffInLongMode,
    /// Powers the machine off once the power button is pressed.
    WaitsForButton,
    /// Ignores everything.
    Hangs,
    /// Starts the chipset's watchdog and then ignores everything.
    HangsUnderWatchdog,
    /// Resets the machine, again and again.
    Resets,
    /// Overwrites the second sector of its disk, then powers off.
    WritesDisk,
    /// Says by the panic device that its kernel panicked.
    Panics,
    /// Sends back what it reads from the first serial port.
    Echoes,
}

impl Guest {
    const ALL: [Guest; 9] = [
        Guest::PowersOff,
        Guest::PowersOffInLongMode,
        Guest::WaitsForButton,
        Guest::Hangs,
        Guest::HangsUnderWatchdog,
        Guest::Resets,
        Guest::WritesDisk,
        Guest::Panics,
        Guest::Echoes,
    ];
}

/// Size of the disk that [`disk`] makes: BIOSes want more than one sector.
pub const DISK_BYTES: usize = 1024 * 1024;

/// Where the BIOS loads a boot sector to.
const ORIGIN: u16 = 0x7c00;
/// Code and message must end before the partition table's place.
const LIMIT: usize = 440;

/// `cli; xor ax,ax; mov ds,ax; mov es,ax; cld; mov si,MESSAGE`: with interrupts on, SeaBIOS would write the rest of its
/// own words into the middle of ours.
const PROLOGUE: [u8; 11] = [0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0xfc, 0xbe, 0, 0];
/// Where `MESSAGE` is in the prologue.
const MESSAGE_AT: usize = 9;
/// `next: lodsb; test al,al; jz done; mov bl,al; mov dx,3fd; full: in al,dx; test al,20; jz full; mov dx,3f8; mov al,bl;
/// out dx,al; jmp next; done:`
const PRINT: [u8; 23] = [
    0xac, 0x84, 0xc0, 0x74, 0x12, 0x88, 0xc3, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb, 0xba, 0xf8,
    0x03, 0x88, 0xd8, 0xee, 0xeb, 0xe9,
];
/// `mov dx,604; mov ax,2000; out dx,ax`: SLP_EN into the PM1a control register where SeaBIOS puts it on q35.
const POWER_OFF: [u8; 7] = [0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef];
/// `mov dx,602; mov ax,100; out dx,ax`: without the enable bit QEMU does not set the button's status bit.
const ARM_BUTTON: [u8; 7] = [0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef];
/// `sti; wait: hlt; mov dx,600; in ax,dx; test ah,1; jz wait`
const AWAIT_BUTTON: [u8; 11] = [0xfb, 0xf4, 0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf6];
/// `mov dx,cf9; mov al,6; out dx,al`
const RESET: [u8; 6] = [0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee];
/// `sti; mov ax,301; mov bx,7c00; mov cx,2; mov dx,80; int 13`: one sector from memory to the first disk's second sector.
const WRITE: [u8; 15] =
    [0xfb, 0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7c, 0xb9, 0x02, 0x00, 0xba, 0x80, 0x00, 0xcd, 0x13];
/// `mov dx,505; mov al,1; out dx,al`: pvpanic's port, and its bit for a panic.
const PANIC: [u8; 6] = [0xba, 0x05, 0x05, 0xb0, 0x01, 0xee];
/// `next: mov dx,3fd; none: in al,dx; test al,1; jz none; mov dx,3f8; in al,dx; out dx,al; jmp next`
const ECHO: [u8; 15] =
    [0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xf1];
/// `cli; halt: hlt; jmp halt`
const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];

/// From real mode to long mode. Page tables at 1000, 2000 and 3000: the first 2 MiB, and 1 GiB at c0000000 (where the
/// chipset's registers are), both where they are in memory.
/// `xor ax,ax; mov edi,1000; mov cr3,edi; xor eax,eax; mov ecx,c00; rep stosd; mov word [1000],2003; mov word [2000],3003;
/// mov dword [2018],c0000083; mov word [3000],83; mov eax,cr4; or al,20; mov cr4,eax; mov ecx,c0000080; rdmsr; or ax,100;
/// wrmsr; mov eax,cr0; or eax,80000001; mov cr0,eax; lgdt [GDTR]; jmp 8:LONG; GDT: dq 0, 209a0000000000, 920000000000;
/// GDTR: dw 23; dd GDT; LONG:`
const LONG_MODE: [u8; 123] = [
    0x31, 0xc0, 0x66, 0xbf, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x22, 0xdf, 0x66, 0x31, 0xc0, 0x66, 0xb9, 0x00,
    0x0c, 0x00, 0x00, 0x66, 0xf3, 0xab, 0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, 0xc7, 0x06, 0x00, 0x20, 0x03,
    0x30, 0x66, 0xc7, 0x06, 0x18, 0x20, 0x83, 0x00, 0x00, 0xc0, 0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, 0x0f,
    0x20, 0xe0, 0x0c, 0x20, 0x0f, 0x22, 0xe0, 0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0d, 0x00,
    0x01, 0x0f, 0x30, 0x0f, 0x20, 0xc0, 0x66, 0x0d, 0x01, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0x0f, 0x01,
    0x16, 0x00, 0x00, 0xea, 0x00, 0x00, 0x08, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x9a, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x92, 0x00, 0x00, 23, 0, 0, 0, 0, 0,
];
/// Where the addresses of GDTR, LONG and GDT stand in it, and where in it they are.
const LONG_MODE_ADDRESSES: [(usize, u16); 3] = [(0x56, 0x75), (0x59, 0x7b), (0x77, 0x5d)];
/// [`POWER_OFF`] in long mode.
const LONG_POWER_OFF: [u8; 10] = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef];
/// In long mode: `and dword [fed1f410],~20` (the chipset may reset), then 4 (a few seconds) to the watchdog's time at port
/// 672, 1 (start anew) to 660, and 0 (run) to 668.
const LONG_WATCHDOG: [u8; 37] = [
    0xbf, 0x10, 0xf4, 0xd1, 0xfe, 0x83, 0x27, 0xdf, 0x66, 0xba, 0x72, 0x06, 0x66, 0xb8, 0x04, 0x00, 0x66,
    0xef, 0x66, 0xba, 0x60, 0x06, 0x66, 0xb8, 0x01, 0x00, 0x66, 0xef, 0x66, 0xba, 0x68, 0x06, 0x66, 0x31,
    0xc0, 0x66, 0xef,
];

/// A raw disk whose boot sector writes `message` (cut to what fits) and then does what `guest` says.
#[must_use]
pub fn disk(guest: Guest, message: &str) -> Vec<u8> {
    let mut code = program(guest);
    code.extend(message.bytes().take(LIMIT - code.len()));
    code.resize(DISK_BYTES, 0);
    code[510..512].copy_from_slice(&[0x55, 0xaa]);
    code
}

/// The guest and the message of a disk that [`disk`] made.
#[must_use]
pub fn read(disk: &[u8]) -> Option<(Guest, String)> {
    let guest = Guest::ALL.into_iter().find(|guest| disk.starts_with(&program(*guest)))?;
    let message = disk.get(program(guest).len()..LIMIT)?.split(|byte| *byte == 0).next()?;
    Some((guest, String::from_utf8_lossy(message).into_owned()))
}

/// The code, behind which the message follows.
fn program(guest: Guest) -> Vec<u8> {
    let mut code = PROLOGUE.to_vec();
    if guest == Guest::WaitsForButton {
        // Before the message: who has read it may press at once.
        code.extend(ARM_BUTTON);
    }
    code.extend(PRINT);
    match guest {
        Guest::PowersOff => code.extend(POWER_OFF),
        Guest::PowersOffInLongMode => enter_long_mode(&mut code, &LONG_POWER_OFF),
        Guest::WaitsForButton => code.extend([&AWAIT_BUTTON[..], &POWER_OFF[..]].concat()),
        Guest::Hangs => {}
        Guest::HangsUnderWatchdog => enter_long_mode(&mut code, &LONG_WATCHDOG),
        Guest::Resets => code.extend(RESET),
        Guest::WritesDisk => code.extend([&WRITE[..], &POWER_OFF[..]].concat()),
        Guest::Panics => code.extend(PANIC),
        Guest::Echoes => code.extend(ECHO),
    }
    code.extend(HALT);
    let message_at = (ORIGIN + code.len() as u16).to_le_bytes();
    code[MESSAGE_AT..MESSAGE_AT + 2].copy_from_slice(&message_at);
    code
}

fn enter_long_mode(code: &mut Vec<u8>, then: &[u8]) {
    let start = code.len();
    code.extend(LONG_MODE);
    for (at, offset) in LONG_MODE_ADDRESSES {
        let address = ORIGIN + start as u16 + offset;
        code[start + at..start + at + 2].copy_from_slice(&address.to_le_bytes());
    }
    code.extend(then);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_read_as_it_was_made() {
        for guest in Guest::ALL {
            assert_eq!(read(&disk(guest, "up\r\n")), Some((guest, "up\r\n".to_owned())));
        }
        assert_eq!(read(&[0; 1024]), None);
    }
}
