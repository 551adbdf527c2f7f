//! Texts in the forms that Project Gutenberg and Smashwords publish; the words are our own.

use super::Boilerplate::*;
use super::*;

const NOVEL: &str = "CHAPTER I\n\nIt rained on the harbour, and nobody minded.\n\nThe boats came home.\n\nTHE END";

/// A body long enough that head and tail do not meet.
fn book() -> String {
    format!("{NOVEL}\n\n{}\n\n{NOVEL}", "It rained again.\n\n".repeat(10_000).trim_end())
}

fn check(text: &str, expected: &str, cut: &[Boilerplate]) {
    let stripped = strip(text);
    assert_eq!(stripped.cut, cut, "{text:.300}");
    // not assert_eq, which would print the book
    assert!(stripped.text == expected, "{:.300}", stripped.text);
}

const HEADER: &str =
    "The Project Gutenberg eBook of The Harbour, by A. Nobody\n\nThis ebook is for the use of anyone anywhere in \
    the United States and\nmost other parts of the world at no cost.\n\nTitle: The Harbour\n\nAuthor: A. Nobody\n\n\
    Credits: Somebody\n\n";

const LICENCE: &str =
    "Updated editions will replace the previous one--the old editions will be renamed.\n\nSTART: FULL \
    LICENSE\n\nTHE FULL PROJECT GUTENBERG LICENSE\n\nPLEASE READ THIS BEFORE YOU DISTRIBUTE OR USE THIS WORK\n";

#[test]
fn gutenberg_of_today() {
    for the in ["THE", "THIS"] {
        let text = format!(
            "\u{feff}{HEADER}*** START OF {the} PROJECT GUTENBERG EBOOK THE HARBOUR ***\r\n\r\n\r\n\r\n{}\r\n\r\n\
             *** END OF {the} PROJECT GUTENBERG EBOOK THE HARBOUR ***\r\n\r\n{LICENCE}",
            book()
        );
        check(&text, &book(), &[GutenbergHeader, GutenbergFooter]);
    }
}

#[test]
fn gutenberg_with_credits_and_a_title_that_wraps() {
    let text = format!(
        "{HEADER}***START OF THE PROJECT GUTENBERG EBOOK THE HARBOUR, AND\nWHAT HAPPENED THERE IN THE RAIN***\n\n\n\
         E-text prepared by Some Body, Any Body,\nand the Online Distributed Proofreading Team\n\n\n\
         Transcriber's note: Old spelling was kept.\n\n[Transcriber’s Note: So were the\nfigures.]\n\n{}\n\n\n\
         End of the Project Gutenberg EBook of The Harbour, by A. Nobody\n\n\
         *** END OF THIS PROJECT GUTENBERG EBOOK THE HARBOUR ***\n\n{}",
        book(),
        LICENCE.repeat(80)
    );
    check(&text, &book(), &[GutenbergHeader, GutenbergCredits, GutenbergFooter]);
}

#[test]
fn gutenberg_of_the_nineties() {
    let text = format!(
        "***The Project Gutenberg Etext of The Harbour***\n\n***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN \
         ETEXTS**START***\nWhy is this \"Small Print!\" statement here?\n{}\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN \
         ETEXTS*Ver.04.29.93*END*\n\n\nThis etext was prepared by Some Body, London\n\n\n{}\n\nEnd of Project Gutenberg's \
         The Harbour, by A. Nobody\n",
        "You know: lawyers.\n".repeat(600),
        book()
    );
    check(&text, &book(), &[GutenbergSmallPrint, GutenbergCredits, GutenbergFooter]);
    let later = text.replace("*END*THE SMALL", "*END THE SMALL");
    check(&later, &book(), &[GutenbergSmallPrint, GutenbergCredits, GutenbergFooter]);
}

#[test]
fn paragraphs_that_are_lines() {
    let body = "CHAPTER I\nIt rained on the harbour, and nobody minded.\nThe boats came home.\n".repeat(100);
    let body = body.trim_end();
    let text = format!(
        "The Project Gutenberg EBook of The Harbour\n*** START OF THIS PROJECT GUTENBERG EBOOK THE HARBOUR ***\nProduced by \
         Some Body and the Online Distributed Proofreading Team at http://www.pgdp.net\n{body}\nTranscriber's Notes:\nA comma \
         was added.\nEnd of Project Gutenberg's The Harbour, by A. Nobody\n*** END OF THIS PROJECT GUTENBERG EBOOK THE \
         HARBOUR ***\nUpdated editions"
    );
    check(&text, body, &[GutenbergHeader, GutenbergCredits, TranscribersNote, GutenbergFooter]);
}

#[test]
fn credits_without_a_header_name_someone() {
    let long = book();
    for (start, is_cut) in [
        ("Produced by Jim Somebody.  HTML version by Al Somebody.\n\n\n", true),
        ("Produced by the Online\nDistributed Proofreading Team at http://www.pgdp.net\n\n", true),
        ("Transcribed from the 1915 Some and Body edition by David\nSomebody\n\n", true),
        ("E-text prepared by \"Any\" Body\n\nNote: Project Gutenberg also has an HTML version of this file.\n\n", true),
        ("Transcribed from memory, this is what she said.\n\n", false),
        ("Produced by the sun, light falls on the harbour.\n\n", false),
        ("Prepared by years at sea, she did not mind the rain.\n\n", false),
        ("Transcriber's note: I was mad when I wrote this down.\n\n", false),
    ] {
        let text = format!("{start}{long}");
        let (expected, cut) = if is_cut { (&long, &[GutenbergCredits][..]) } else { (&text, &[][..]) };
        check(&text, expected, cut);
    }
}

#[test]
fn smashwords() {
    let text = format!(
        "THE HARBOUR\n\nby A. Nobody\n\nSMASHWORDS EDITION\n\n* * * * *\n\nPUBLISHED BY:\nA. Nobody on Smashwords\n\n\
         Copyright 2010 by A. Nobody\n\nSmashwords Edition, License Notes\n\nThis ebook is licensed for your personal enjoyment \
         only. This ebook may not be\nre-sold or given away to other people. Thank you for respecting the hard work\nof this \
         author.\n\n{}\n\n###\n\nThank you for reading my book.\n\nDiscover other titles by A. Nobody at Smashwords.com:\n\n\
         The Pier\n",
        book()
    );
    check(&text, &book(), &[SmashwordsLicence, SmashwordsTail]);

    let lines = "It rained.\nThe boats came home.\n".repeat(100);
    let text = format!(
        "The Harbour\nPublished by A. Nobody at Smashwords\nThank you for downloading this ebook. You may share it with your \
         friends.\n{lines}Discover other titles by A. Nobody at https://www.smashwords.com/profile"
    );
    check(&text, lines.trim_end(), &[SmashwordsLicence, SmashwordsTail]);
}

#[test]
fn prose_that_mentions_them_stays() {
    let filler = "It rained on the harbour.\n\n".repeat(3000);
    let marks =
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nEnd of Project Gutenberg's X\n\nSmashwords Edition\n\n\
        *** END OF THE PROJECT GUTENBERG EBOOK X ***\n\n###\n\nTranscriber's Notes:\n\n";
    let mention = "He read Project Gutenberg books. The end of Project Gutenberg was near, and Smashwords Edition was a name.\n\n";
    for text in [
        format!("{filler}{marks}{filler}"),
        format!("{mention}{filler}{mention}"),
        // three hashes are a break between scenes
        format!("{NOVEL}\n\n###\n\n{NOVEL}"),
        format!("{filler}[Transcriber's note: a word is missing.]\n\nThe boats came home."),
        "*** START OF A STORM ***\n\nIt rained.".into(),
        NOVEL.into(),
    ] {
        check(&text, &text, &[]);
    }
}

#[test]
fn any_shape_of_text_is_fine() {
    for text in [
        "",
        "\n",
        "é",
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***",
        "*** START OF THE PROJECT GUTENBERG EBOOK X",
        "Smashwords Edition",
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***",
    ] {
        assert!(strip(text).text.len() <= text.len());
    }
    let wide = "é".repeat(HEAD_BYTES);
    check(&wide, &wide, &[]);
    check("*** START OF THE PROJECT GUTENBERG EBOOK X ***\n", "", &[GutenbergHeader]);
}
