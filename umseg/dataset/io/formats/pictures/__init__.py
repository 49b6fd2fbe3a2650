"""The formats of pictures: PNG, JPEG and bitmaps."""
