"""Up to the Hugging Face Hub and down from it: folders of artefacts, whatever network they hold."""
