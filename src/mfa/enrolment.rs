//! A new secret into the URI that authenticators read, and that into a picture (QR code, SVG).
//! The picture names nothing outside itself, and neither is kept.

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

use super::totp::{PERIOD, Secret};

const ISSUER: &str = "Scopegate";
/// Light modules around the code (ISO/IEC 18004 §6.3.8).
const QUIET: usize = 4;
/// Characters of an account that are shown; a longer one would make a picture that no camera reads.
const SHOWN: usize = 64;

pub fn secret() -> Result<Secret, getrandom::Error> {
    let mut random = Zeroizing::new([0; 20]);
    getrandom::fill(random.as_mut_slice())?;
    Ok(Secret::new(*random))
}

/// Key URI format: what is not unreserved is escaped, a colon too, since the first one ends the issuer.
pub fn uri(secret: &Secret, account: &str) -> Zeroizing<String> {
    let mut uri = Zeroizing::new(format!("otpauth://totp/{ISSUER}:"));
    let shown: String = account.chars().take(SHOWN).collect();
    for byte in shown.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    let _ = write!(uri, "?secret={}&issuer={ISSUER}&algorithm=SHA1&digits=6&period={PERIOD}", *secret.base32());
    uri
}

/// Dark on light, in any size, one unit a module. `None` where the text is too long for one.
pub fn qr_svg(text: &str) -> Option<Zeroizing<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let side = width + 2 * QUIET;
    let mut svg = Zeroizing::new(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path fill=\"#000\" d=\""
    ));
    for (y, row) in code.into_colors().chunks(width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|left, right| left == right) {
            if run.first() == Some(&Color::Dark) {
                let _ = write!(svg, "M{} {}h{length}v1h-{length}z", x + QUIET, y + QUIET, length = run.len());
            }
            x += run.len();
        }
    }
    svg.push_str("\"/></svg>");
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(account: &str) -> String {
        uri(&Secret::new(*b"12345678901234567890"), account).to_string()
    }

    #[test]
    fn the_uri_says_everything_that_an_authenticator_needs() {
        assert_eq!(
            of("ada@example.com"),
            "otpauth://totp/Scopegate:ada%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Scopegate&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn no_account_can_add_to_the_uri() {
        let label = |account: &str| of(account).split_once('?').unwrap().0["otpauth://totp/Scopegate:".len()..].to_owned();
        assert_eq!(label("a:b?secret=x&y#z/ü +%"), "a%3Ab%3Fsecret%3Dx%26y%23z%2F%C3%BC%20%2B%25");
        assert_eq!(label(&"é".repeat(1000)), "%C3%A9".repeat(64));
        assert_eq!(label(""), "");
    }

    #[test]
    fn the_picture_shows_the_code_with_a_quiet_zone_and_nothing_from_elsewhere() {
        let text = of("ada@example.com");
        let svg = qr_svg(&text).unwrap();
        let code = QrCode::with_error_correction_level(&text, EcLevel::M).unwrap();
        let side = code.width() + 8;
        assert!(svg.contains(&format!("viewBox=\"0 0 {side} {side}\"")));
        assert_eq!(svg.matches("http").count(), 1);
        assert!(!svg.contains("href") && !svg.contains("<?") && !svg.contains("<script"));
        let mut drawn = vec![Color::Light; code.width() * code.width()];
        let path = svg.split("d=\"").nth(2).unwrap().split('"').next().unwrap();
        for run in path.split('z').filter(|run| !run.is_empty()) {
            let numbers: Vec<usize> = run.split(['M', ' ', 'h', 'v', '-']).filter_map(|number| number.parse().ok()).collect();
            let [x, y, length, ..] = numbers[..] else { panic!("{run}") };
            drawn[(y - 4) * code.width() + x - 4..][..length].fill(Color::Dark);
        }
        assert_eq!(drawn, code.to_colors());
    }

    #[test]
    fn the_longest_account_still_has_a_picture() {
        assert!(qr_svg(&of(&"語".repeat(500))).is_some());
        assert!(qr_svg(&"x".repeat(4000)).is_none());
        assert_ne!(secret().unwrap().as_bytes(), secret().unwrap().as_bytes());
    }
}
