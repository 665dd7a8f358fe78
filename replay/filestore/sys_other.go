//go:build !linux && !darwin && !freebsd

package filestore

import (
	"errors"
	"os"
)

const supported = false

func tryLock(*os.File) (bool, error)             { return false, errors.ErrUnsupported }
func unlock(*os.File) error                      { return errors.ErrUnsupported }
func checkPrivate(string, os.FileInfo) error     { return errors.ErrUnsupported }
func networkFilesystem(*os.File) (string, error) { return "", errors.ErrUnsupported }
func stampOf(*os.File) (stamp, error)            { return stamp{}, errors.ErrUnsupported }
func datasync(f *os.File) error                  { return f.Sync() }
