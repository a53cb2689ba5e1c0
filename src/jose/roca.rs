//! An RSA modulus into the answer whether the flawed generator of CVE-2017-15361 (ROCA) made it.
//! Finds the fingerprint only: nothing is factored.

/// The odd primes up to 167 (Nemec and others, "The Return of Coppersmith's Attack", 2017, §5).
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149,
    151, 157, 163, 167,
];

/// The generator's primes are powers of 65537 modulo each small prime, and so is their product. Of sound moduli, one in 2^27 looks the same.
pub(super) fn has_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|&prime| {
        let residue = modulus.iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime);
        is_power(residue, prime)
    })
}

fn is_power(residue: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == residue {
            return true;
        }
        power = power * (65_537 % prime) % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modulus_of_powers_of_65537_has_the_fingerprint() {
        // 65537^n for small n, as a number of its own.
        for power in 1..=7u32 {
            let modulus = 65_537u128.pow(power).to_be_bytes();
            assert!(has_fingerprint(&modulus), "{power}");
        }
    }

    #[test]
    fn other_moduli_have_none() {
        for modulus in [65_537u128 * 3, 65_539, (1 << 127) - 1, 0] {
            assert!(!has_fingerprint(&modulus.to_be_bytes()), "{modulus}");
        }
    }

    #[test]
    fn each_prime_is_asked_about_its_own_subgroup() {
        // 65537 is 2 modulo 3, 10 modulo 11 and 4 modulo 13.
        assert!((0..3).filter(|&residue| is_power(residue, 3)).eq([1, 2]));
        assert!((0..11).filter(|&residue| is_power(residue, 11)).eq([1, 10]));
        assert!((0..13).filter(|&residue| is_power(residue, 13)).eq([1, 3, 4, 9, 10, 12]));
        assert!(PRIMES.iter().all(|prime| (2..*prime).all(|other| prime % other != 0)));
    }
}
