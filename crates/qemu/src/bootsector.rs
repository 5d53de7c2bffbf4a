//! Guests of 512 bytes: enough to prove that an accelerator works, and to test a VMM in milliseconds.

/// What the guest does after it has written its message to the first serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Powers the machine off by ACPI.
    PowersOff,
    /// Powers the machine off once the power button is pressed.
    WaitsForButton,
    /// Ignores everything.
    Hangs,
    /// Resets the machine, again and again.
    Resets,
    /// Overwrites the second sector of its disk, then powers off.
    WritesDisk,
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
/// `cli; halt: hlt; jmp halt`
const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];

/// A raw disk whose boot sector writes `message` (cut to what fits) and then does what `guest` says.
pub fn disk(guest: Guest, message: &str) -> Vec<u8> {
    let mut code = PROLOGUE.to_vec();
    if guest == Guest::WaitsForButton {
        // Before the message: who has read it may press at once.
        code.extend(ARM_BUTTON);
    }
    code.extend(PRINT);
    match guest {
        Guest::PowersOff => code.extend(POWER_OFF),
        Guest::WaitsForButton => code.extend([&AWAIT_BUTTON[..], &POWER_OFF[..]].concat()),
        Guest::Hangs => {}
        Guest::Resets => code.extend(RESET),
        Guest::WritesDisk => code.extend([&WRITE[..], &POWER_OFF[..]].concat()),
    }
    code.extend(HALT);
    let message_at = (ORIGIN + code.len() as u16).to_le_bytes();
    code[MESSAGE_AT..MESSAGE_AT + 2].copy_from_slice(&message_at);
    code.extend(message.bytes().take(LIMIT - code.len()));
    code.resize(DISK_BYTES, 0);
    code[510..512].copy_from_slice(&[0x55, 0xaa]);
    code
}
