"""A local web page on which one drops an image and sees its nuclei."""
