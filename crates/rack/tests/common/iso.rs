//! A CD of 21 sectors that a BIOS boots (El Torito, no emulation) and UEFI looks at.

const SECTOR: usize = 2048;
const CATALOG: u32 = 19;
const PROGRAM: u32 = 20;

/// The CD with this boot sector.
pub fn bootable(program: &[u8]) -> Vec<u8> {
    let mut cd = vec![0; PROGRAM as usize * SECTOR];
    let mut put = |sector: u32, at: usize, bytes: &[u8]| {
        let start = sector as usize * SECTOR + at;
        cd[start..start + bytes.len()].copy_from_slice(bytes);
    };
    put(16, 0, b"\x01CD001\x01");
    put(17, 0, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17, 0x47, &CATALOG.to_le_bytes());
    put(18, 0, b"\xffCD001\x01");
    let mut validation = [0_u8; 32];
    validation[0] = 1;
    validation[30..].copy_from_slice(&[0x55, 0xaa]);
    // The 16-bit words of the entry add up to nothing.
    let sum = validation
        .chunks(2)
        .fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    validation[28..30].copy_from_slice(&0_u16.wrapping_sub(sum).to_le_bytes());
    put(CATALOG, 0, &validation);
    put(CATALOG, 32, &[0x88, 0, 0, 0, 0, 0, 4, 0]);
    put(CATALOG, 40, &PROGRAM.to_le_bytes());
    cd.extend_from_slice(program);
    cd.resize(cd.len().next_multiple_of(SECTOR), 0);
    let sectors = (cd.len() / SECTOR) as u32;
    let volume = 16 * SECTOR + 80;
    cd[volume..volume + 4].copy_from_slice(&sectors.to_le_bytes());
    cd[volume + 4..volume + 8].copy_from_slice(&sectors.to_be_bytes());
    cd
}
